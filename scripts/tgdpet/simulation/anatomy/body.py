"""Where the body is, in a CT or around labels alone, as (X, Y, Z) uint8: 0 air, `SOFT_TISSUE`,
`RIM` of fat.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

SOFT_TISSUE, RIM = 1, 2
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
    size = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    steps = [max(1, int(FINEST_MM // s)) for s in size]
    coarse = affine @ np.diag([*steps, 1.0])
    dense = hu[tuple(slice(None, None, s) for s in steps)] > BODY_HU
    organs = labelled(coarse, dense.shape)
    axial, plane_mm = _slices(coarse)
    opened = np.moveaxis(np.zeros(dense.shape, bool), axial, 0)
    disc = _disc(OPENING_MM, plane_mm)
    for out, part in zip(opened, np.moveaxis(dense, axial, 0), strict=True):
        # beyond the edge the body goes on: a field of view too narrow must not cut its skin off
        reach = max(disc.shape)
        out[:] = ndimage.binary_opening(np.pad(part, reach, mode="edge"), disc)[
            reach:-reach, reach:-reach
        ]
    parts, n = ndimage.label(np.moveaxis(opened, 0, axial))
    kept = np.zeros(n + 1, bool)
    kept[np.unique(parts[organs])] = True
    kept[1 + np.argmax(np.bincount(parts.ravel(), minlength=n + 1)[1:]) if n else 0] = True
    kept[0] = False
    body = np.moveaxis(kept[parts] | organs, axial, 0)
    for part in body:
        part[:] = ndimage.binary_fill_holes(part)
    return np.ascontiguousarray(np.moveaxis(body, 0, axial)).astype(np.uint8) * SOFT_TISSUE, coarse


def from_labels(labels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The body around labels without a CT, on their grid: assumed to be their convex hull in each
    slice, grown by `RIM_MM` of fat.
    """
    from skimage.morphology import convex_hull_image

    axial, plane_mm = _slices(affine)
    inside = np.moveaxis(labels != 0, axial, 0)
    out = np.zeros(inside.shape, np.uint8)
    for body, part in zip(out, inside, strict=True):
        if part.any():
            hull = (
                convex_hull_image(part)
                if part.any(axis=0).sum() > 2 and part.any(axis=1).sum() > 2
                else part
            )
            body[ndimage.distance_transform_edt(~hull, plane_mm) <= RIM_MM] = RIM
            body[hull] = SOFT_TISSUE
    return np.ascontiguousarray(np.moveaxis(out, 0, axial))


def _slices(affine: np.ndarray) -> tuple[int, list[float]]:
    """The array axis nearest to the body's axis, and the voxel size across it, mm."""
    size = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    axial = int(np.argmax(np.abs(affine[2, :3]) / size))
    return axial, [float(s) for a, s in enumerate(size) if a != axial]


def _disc(radius_mm: float, voxel_mm: list[float]) -> np.ndarray:
    n = [int(radius_mm // v) for v in voxel_mm]
    u, v = np.ogrid[-n[0] : n[0] + 1, -n[1] : n[1] + 1]
    return np.asarray((u * voxel_mm[0]) ** 2 + (v * voxel_mm[1]) ** 2 <= radius_mm**2)
