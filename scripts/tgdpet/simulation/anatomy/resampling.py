"""Volumes on other grids: affines to RAS mm, nearest and linear interpolation."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ...constants import FWHM_PER_SIGMA

# points midway between voxels go the same way whatever the voxels' order
UNTIE_MM = (1e-3, 1.3e-3, 1.7e-3)


def points_mm(index: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Voxel indices (n, 3), which may be fractions, to mm (n, 3)."""
    turn = affine[:3, :3]
    shift = affine[:3, 3]

    return np.asarray(index @ turn.T + shift)


def sample(
    volume: np.ndarray, affine: np.ndarray, to_mm: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Nearest values of a volume at the voxels of another grid (affine `to_mm`, `shape`); 0 outside
    the volume.
    """
    # a border of zeros, so that half a voxel beyond the last centre still counts
    border = np.eye(4)
    border[:3, 3] = -1.0
    bordered = np.pad(volume, 1)

    aside = to_mm.copy()
    aside[:3, 3] += UNTIE_MM

    return resample(bordered, affine @ border, aside, shape, order=0)


def resample(
    volume: np.ndarray, affine: np.ndarray, to_mm: np.ndarray, shape: tuple[int, ...], order: int
) -> np.ndarray:
    """Values of a volume at the voxels of another grid (affine `to_mm`, `shape`): nearest (order 0)
    or linear (order 1); the nearest voxel's outside the volume.
    """
    to_voxels = np.linalg.inv(affine) @ to_mm
    matrix = to_voxels[:3, :3]
    offset = to_voxels[:3, 3]

    if order:  # voxels much finer than the grid's are averaged first, not picked
        strides = np.abs(matrix).sum(axis=1)
        sigma = np.where(strides > 2, strides / FWHM_PER_SIGMA, 0)
        volume = ndimage.gaussian_filter(volume, sigma, mode="nearest")

    values = ndimage.affine_transform(
        volume,
        matrix,
        offset,
        shape,
        order=order,
        mode="nearest",
    )
    return np.asarray(values)
