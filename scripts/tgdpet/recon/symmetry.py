"""Mirror images of pairs of detector columns within the image's square or rectangle.

Where columns and grid look the same in a mirror, up to eight pairs of columns are images of each
other: their LORs cross the voxel planes at the same places, only the voxels' names differ.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from .lanes import LANES

SAME_MM = 1e-3  # columns nearer than this are one
TIE = 1e-5  # of equal distances along x and y: which is the main axis is decided by rounding


class Mirror(NamedTuple):
    """A symmetry of columns and grid.

    `columns` (N,): the image of each column. The image of the padded voxel (i, j), counted along x
    and y, has the number `start + i * step_x + j * step_y` among all padded (x, y).
    """

    columns: np.ndarray
    start: int
    step_x: int
    step_y: int


class Groups(NamedTuple):
    """Groups of pairs of columns that are mirror images: columns of both sides, (G, LANES).

    `used` (G, LANES): False where a lane has no pair of its own. Lane 0 always has one.
    """

    first: np.ndarray
    second: np.ndarray
    used: np.ndarray


def mirrors(xy_mm: np.ndarray, shape: list[int], voxel_mm: np.ndarray) -> list[Mirror]:
    """The mirrors of columns at `xy_mm` (N, 2) and a grid centred on the axis; identity first."""
    nx, ny = shape[:2]
    is_square = nx == ny and voxel_mm[0] == voxel_mm[1]

    found = []
    for swaps, sign_x, sign_y in itertools.product((False, True), (1, -1), (1, -1)):
        if swaps and not is_square:
            continue

        turned = xy_mm[:, ::-1] if swaps else xy_mm
        columns = _matching(xy_mm, turned * [sign_x, sign_y])
        if columns is None:
            continue

        # along x and y of the image: from 0 upwards, or from the far border downwards
        step_x = sign_x * (ny + 2)
        step_y = sign_y
        start = 0 if sign_x > 0 else (nx + 1) * (ny + 2)
        start += 0 if sign_y > 0 else ny + 1

        of_voxels = (step_y, step_x) if swaps else (step_x, step_y)
        found.append(Mirror(columns, start, *of_voxels))

    return found


def _matching(xy_mm: np.ndarray, images_mm: np.ndarray) -> np.ndarray | None:
    """The column at each of `images_mm` (N, 2); None where there is none at one of them."""
    difference_mm = images_mm[:, None] - xy_mm[None]
    distance2 = (difference_mm**2).sum(axis=2)
    nearest = distance2.argmin(axis=1)

    farthest2 = distance2[np.arange(len(xy_mm)), nearest].max()
    return nearest if farthest2 < SAME_MM**2 else None


def groups(xy_mm: np.ndarray, mirrors: list[Mirror]) -> Groups:
    """Every pair of columns at `xy_mm` (N, 2) once, with its mirror images; a mirror a lane."""
    n = len(xy_mm)
    first, second = np.triu_indices(n, 1)

    sides0 = np.stack([mirror.columns[first] for mirror in mirrors], axis=1)
    sides1 = np.stack([mirror.columns[second] for mirror in mirrors], axis=1)
    keys = np.minimum(sides0, sides1) * n + np.maximum(sides0, sides1)

    # alone where rounding decides the main axis, which may differ from image to image
    distance_mm = np.abs(xy_mm[first] - xy_mm[second])
    tied = np.abs(distance_mm[:, 0] - distance_mm[:, 1]) <= TIE * distance_mm.max(axis=1)

    leads = tied | (keys[:, 0] == keys.min(axis=1))
    used = np.zeros((np.count_nonzero(leads), LANES), np.bool_)
    used[:, 0] = True

    # a pair that is its own image counts once
    keys = keys[leads]
    for lane in range(1, len(mirrors)):
        repeated = (keys[:, :lane] == keys[:, lane : lane + 1]).any(axis=1)
        used[:, lane] = ~repeated & ~tied[leads]

    missing = LANES - len(mirrors)
    columns0 = np.pad(sides0[leads], ((0, 0), (0, missing)))
    columns1 = np.pad(sides1[leads], ((0, 0), (0, missing)))

    return Groups(columns0, columns1, used)
