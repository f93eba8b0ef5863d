"""Where the body is, in a CT or around labels alone, as (X, Y, Z) uint8: 0 air, `SOFT_TISSUE`,
`RIM` of fat.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

SOFT_TISSUE = 1
RIM = 2
BODY_HU = -300.0
OPENING_MM = 7.0  # radius of the opening that takes couch, sheets and tubes off the skin
RIM_MM = 15.0  # assumed fat and skin around the hull of the labels
FINEST_MM = 2.5  # the outline needs no finer voxels


def from_ct(
    hu: np.ndarray,
    affine: np.ndarray,
    labelled: Callable[[np.ndarray, tuple[int, ...]], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """The body in a CT (HU), without the couch, and the affine of its voxels, which may be coarser
    than the CT's.

    Denser than `BODY_HU`, opened slice by slice; of the connected parts the largest and those that
    hold labels (`labelled(affine, shape)` says where: arms); holes filled slice by slice. Labelled
    voxels always belong to it.
    """
    strides = [max(1, int(FINEST_MM // size)) for size in _voxel_mm(affine)]
    coarse = affine @ np.diag([*strides, 1.0])

    every = tuple(slice(None, None, stride) for stride in strides)
    dense = hu[every] > BODY_HU
    organs = labelled(coarse, dense.shape)
    axial, plane_mm = _slices(coarse)

    # off with couch, sheets and tubes
    disc = _disc(OPENING_MM, plane_mm)
    opened = _by_slice(lambda part: _opened(part, disc), dense, axial)

    body = _largest_and_labelled(opened, organs)
    filled = _by_slice(ndimage.binary_fill_holes, body, axial)
    return filled.astype(np.uint8) * SOFT_TISSUE, coarse


def _by_slice(
    change: Callable[[np.ndarray], np.ndarray], volume: np.ndarray, axial: int
) -> np.ndarray:
    """A volume whose slices across an axis are changed one by one."""
    slices = np.moveaxis(volume, axial, 0)
    changed = np.stack([change(part) for part in slices])

    return np.ascontiguousarray(np.moveaxis(changed, 0, axial))


def _opened(inside: np.ndarray, disc: np.ndarray) -> np.ndarray:
    """The opening of a slice.

    Beyond the edge the body continues: a field of view too narrow must not cut its skin off.
    """
    reach = max(disc.shape)
    wider = np.pad(inside, reach, mode="edge")
    opened = ndimage.binary_opening(wider, disc)

    return np.asarray(opened[reach:-reach, reach:-reach])


def _largest_and_labelled(inside: np.ndarray, organs: np.ndarray) -> np.ndarray:
    """The largest connected part, those that hold organs, and the organs."""
    parts, n = ndimage.label(inside)
    sizes = np.bincount(parts.ravel(), minlength=n + 1)
    with_organs = np.unique(parts[organs])

    kept = np.zeros(n + 1, bool)
    kept[with_organs] = True
    if n:
        largest = 1 + np.argmax(sizes[1:])
        kept[largest] = True
    kept[0] = False

    return np.asarray(kept[parts] | organs)


def from_labels(labels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The body around labels without a CT, on their grid: assumed to be their convex hull in each
    slice, grown by `RIM_MM` of fat.
    """
    axial, plane_mm = _slices(affine)

    def with_rim(inside: np.ndarray) -> np.ndarray:
        body = np.zeros(inside.shape, np.uint8)
        if inside.any():
            hull = _hull(inside)
            distance_mm = ndimage.distance_transform_edt(~hull, plane_mm)
            body[distance_mm <= RIM_MM] = RIM
            body[hull] = SOFT_TISSUE
        return body

    return _by_slice(with_rim, labels != 0, axial)


def _hull(inside: np.ndarray) -> np.ndarray:
    """The convex hull in a slice; the voxels themselves where they lie in two rows or fewer."""
    from skimage.morphology import convex_hull_image

    n_columns = inside.any(axis=0).sum()
    n_rows = inside.any(axis=1).sum()

    if n_columns > 2 and n_rows > 2:
        return np.asarray(convex_hull_image(inside))
    return inside


def _slices(affine: np.ndarray) -> tuple[int, list[float]]:
    """The array axis nearest to the body's axis, and the voxel size across it, mm."""
    size_mm = _voxel_mm(affine)
    cosine = np.abs(affine[2, :3]) / size_mm
    axial = int(np.argmax(cosine))

    across = [axis for axis in range(3) if axis != axial]
    return axial, [float(size_mm[axis]) for axis in across]


def _voxel_mm(affine: np.ndarray) -> np.ndarray:
    """Size of an affine's voxels along each axis, (3,)."""
    columns = affine[:3, :3]
    return np.asarray(np.sqrt((columns**2).sum(axis=0)))


def _disc(radius_mm: float, voxel_mm: list[float]) -> np.ndarray:
    size_u, size_v = voxel_mm
    reach_u = int(radius_mm // size_u)
    reach_v = int(radius_mm // size_v)

    u, v = np.ogrid[-reach_u : reach_u + 1, -reach_v : reach_v + 1]
    distance2 = (u * size_u) ** 2 + (v * size_v) ** 2
    return np.asarray(distance2 <= radius_mm**2)
