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
    size_mm = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    steps = [max(1, int(FINEST_MM // s)) for s in size_mm]
    coarse = affine @ np.diag([*steps, 1.0])

    dense = hu[tuple(slice(None, None, step) for step in steps)] > BODY_HU
    organs = labelled(coarse, dense.shape)
    axial, plane_mm = _slices(coarse)

    # off with couch, sheets and tubes
    slices = np.moveaxis(dense, axial, 0)
    opened = np.moveaxis(np.zeros(dense.shape, bool), axial, 0)
    disc = _disc(OPENING_MM, plane_mm)
    for part, source in zip(opened, slices, strict=True):
        part[:] = _opened(source, disc)

    body = _largest_and_labelled(np.moveaxis(opened, 0, axial), organs)
    body = np.moveaxis(body, axial, 0)
    for part in body:
        part[:] = ndimage.binary_fill_holes(part)

    body = np.ascontiguousarray(np.moveaxis(body, 0, axial))
    return body.astype(np.uint8) * SOFT_TISSUE, coarse


def _opened(inside: np.ndarray, disc: np.ndarray) -> np.ndarray:
    """The opening of a slice.

    Beyond the edge the body continues: a field of view too narrow must not cut its skin off.
    """
    reach = max(disc.shape)
    opened = ndimage.binary_opening(np.pad(inside, reach, mode="edge"), disc)

    return np.asarray(opened[reach:-reach, reach:-reach])


def _largest_and_labelled(inside: np.ndarray, organs: np.ndarray) -> np.ndarray:
    """The largest connected part, those that hold organs, and the organs."""
    parts, n = ndimage.label(inside)
    sizes = np.bincount(parts.ravel(), minlength=n + 1)[1:]

    kept = np.zeros(n + 1, bool)
    kept[np.unique(parts[organs])] = True
    if n:
        kept[1 + np.argmax(sizes)] = True
    kept[0] = False

    return np.asarray(kept[parts] | organs)


def from_labels(labels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The body around labels without a CT, on their grid: assumed to be their convex hull in each
    slice, grown by `RIM_MM` of fat.
    """
    axial, plane_mm = _slices(affine)
    inside = np.moveaxis(labels != 0, axial, 0)
    body = np.zeros(inside.shape, np.uint8)

    for part, source in zip(body, inside, strict=True):
        if source.any():
            hull = _hull(source)
            part[ndimage.distance_transform_edt(~hull, plane_mm) <= RIM_MM] = RIM
            part[hull] = SOFT_TISSUE

    return np.ascontiguousarray(np.moveaxis(body, 0, axial))


def _hull(inside: np.ndarray) -> np.ndarray:
    """The convex hull in a slice; the voxels themselves where they lie in two rows or fewer."""
    from skimage.morphology import convex_hull_image

    n_columns = inside.any(axis=0).sum()
    n_rows = inside.any(axis=1).sum()

    return np.asarray(convex_hull_image(inside)) if n_columns > 2 and n_rows > 2 else inside


def _slices(affine: np.ndarray) -> tuple[int, list[float]]:
    """The array axis nearest to the body's axis, and the voxel size across it, mm."""
    size_mm = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    axial = int(np.argmax(np.abs(affine[2, :3]) / size_mm))

    return axial, [float(s) for a, s in enumerate(size_mm) if a != axial]


def _disc(radius_mm: float, voxel_mm: list[float]) -> np.ndarray:
    reach = [int(radius_mm // v) for v in voxel_mm]
    u, v = np.ogrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1]

    return np.asarray((u * voxel_mm[0]) ** 2 + (v * voxel_mm[1]) ** 2 <= radius_mm**2)
