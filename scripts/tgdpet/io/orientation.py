"""One orientation for computing, whatever the order in which a file holds its voxels.

Networks know axial slices in one direction. Images are therefore read as RAS+: the first axis
towards the patient's right, the second towards anterior, the third towards superior, each as nearly
as the voxels' own axes allow. What is written goes back to the order of the file that it was made
from. Nothing is interpolated: axes are swapped and turned round.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .nibabel_alone import nib

# nibabel's orientation of an array: for each of its axes, which axis of RAS+ and in which direction
RAS = np.array([[0, 1], [1, 1], [2, 1]])
SAME_GRID_VOXELS = 0.01  # how far a corner may lie off, as headers round positions


def to_ras(data: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An array (three axes) and its affine (4, 4) to RAS mm, as RAS+; a view where it is one."""
    orientation = nib.io_orientation(affine)
    back = nib.orientations.inv_ornt_aff(orientation, data.shape)

    return turned(data, orientation), affine @ back


def to_ras_affine(shape: Sequence[int], affine: np.ndarray) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine of a grid as RAS+."""
    orientation = nib.io_orientation(affine)
    along = np.argsort(orientation[:, 0])
    ras_shape = tuple(int(shape[axis]) for axis in along)

    return ras_shape, affine @ nib.orientations.inv_ornt_aff(orientation, shape)


def from_ras(data: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """An array that is RAS+ in the order of the file whose voxels have the `affine` (4, 4)."""
    orientation = nib.io_orientation(affine)

    return turned(data, nib.orientations.ornt_transform(RAS, orientation))


def turned(data: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    """An array with its axes swapped and turned round by nibabel's `orientation` (3, 2)."""
    if np.array_equal(orientation, RAS):
        return data

    return np.asarray(nib.apply_orientation(data, orientation))


def orientation_name(affine: np.ndarray) -> str:
    """Where the axes of an array point to, as in `LPS`."""
    return "".join(nib.aff2axcodes(affine))


def grid_difference(
    shape: Sequence[int],
    affine: np.ndarray,
    expected_shape: Sequence[int],
    expected_affine: np.ndarray,
) -> str | None:
    """What tells a grid from the expected one, in words with numbers; None where it is the same.

    The corners may differ by 1 % of a voxel.
    """
    if tuple(shape) != tuple(expected_shape):
        return f"expected {_numbers(expected_shape)} voxels, got {_numbers(shape)}"

    ends = np.array(np.meshgrid(*([0, n - 1] for n in shape), indexing="ij")).reshape(3, -1)
    corners = np.vstack([ends, np.ones(ends.shape[1])])
    off_mm = np.abs(((affine - expected_affine) @ corners)[:3]).max()

    expected_mm = voxel_mm(expected_affine)
    allowed_mm = SAME_GRID_VOXELS * expected_mm.min()
    if off_mm <= allowed_mm:
        return None

    size_mm = voxel_mm(affine)
    if np.abs(size_mm - expected_mm).max() > allowed_mm:
        return f"expected voxels of {_numbers(expected_mm)} mm, got {_numbers(size_mm)}"

    expected_first = _point(expected_affine[:3, 3])
    first = _point(affine[:3, 3])
    if expected_first != first:
        return f"expected the first voxel at {expected_first} mm, got {first}"

    return f"expected the axes {_axes(expected_affine)}, got {_axes(affine)}"


def voxel_mm(affine: np.ndarray) -> np.ndarray:
    """Voxel size along the array's axes (3,), mm."""
    return np.sqrt((affine[:3, :3] ** 2).sum(axis=0))


def _numbers(values: Sequence[float] | np.ndarray) -> str:
    return " x ".join(f"{value:.4g}" for value in values)


def _point(values: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:.2f}" for value in values) + ")"


def _axes(affine: np.ndarray) -> str:
    return str(np.round(affine[:3, :3], 3).tolist())
