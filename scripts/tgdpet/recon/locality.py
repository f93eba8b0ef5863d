"""The order in which events are projected: those of one region and direction together.

Projecting them in this order rereads voxels while they are cached; results change by rounding only.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from ..config.sections import Grid
from ..runtime.compiled import njit
from ..scanner.cylinder import AnyScanner

CUBE_VOXELS = 4  # what events of one such cube and direction read fits the fastest cache
N_DIRECTIONS = 8  # across the scanner's axis


def locality_order(
    events: np.ndarray, scanner: AnyScanner, grid: Grid, use_tof: bool = True
) -> np.ndarray:
    """A permutation (n,) that brings events of one region and direction together; ties keep order.

    The region is where the TOF bin's centre lies or, for projections without TOF, the LOR's middle.
    """
    keys, n_keys = _locality_keys(
        events,
        np.ascontiguousarray(scanner.detector_mm(), np.float32),
        float(scanner.tof_step_mm) if use_tof else 0.0,
        np.asarray(grid.shape, np.int64),
        np.asarray(grid.voxel_mm, np.float64),
    )
    return np.asarray(_counting_sort(keys, n_keys))


@nb.njit(inline="always")
def _cube(position_mm, voxel_mm, n_voxels, n_cubes):  # type: ignore[no-untyped-def]
    """Number of the cube along one axis; positions beyond the image belong to the outermost."""
    cube = int((position_mm / voxel_mm + 0.5 * n_voxels) / CUBE_VOXELS)
    return min(max(cube, 0), n_cubes - 1)


@njit(nogil=True, error_model="numpy")
def _locality_keys(events, detectors_mm, step_mm, shape, voxel_mm):  # type: ignore[no-untyped-def]
    """Keys (n,) of events by cube and direction, and how many different keys there are."""
    nx = (shape[0] - 1) // CUBE_VOXELS + 1
    ny = (shape[1] - 1) // CUBE_VOXELS + 1
    nz = (shape[2] - 1) // CUBE_VOXELS + 1
    keys = np.empty(events.size, np.int32)

    for e in range(events.size):
        event = events[e]
        p = detectors_mm[event.det0]
        q = detectors_mm[event.det1]
        d0 = q[0] - p[0]
        d1 = q[1] - p[1]
        d2 = q[2] - p[2]

        # the TOF bin's centre as a share of the way from detector 0 to detector 1
        length = math.sqrt(d0 * d0 + d1 * d1 + d2 * d2)
        along = 0.5
        if length > 0:
            along += event.tof * step_mm / length

        x = p[0] + along * d0
        y = p[1] + along * d1
        z = p[2] + along * d2
        i = _cube(x, voxel_mm[0], shape[0], nx)
        j = _cube(y, voxel_mm[1], shape[1], ny)
        k = _cube(z, voxel_mm[2], shape[2], nz)

        # four sectors of the slope across the axis for flat LORs, four for steep ones, which those
        # of 45 degrees join
        steep = abs(d1) > abs(d0)
        slope = 0.0
        if steep:
            slope = d0 / d1
        elif d0 != 0:
            slope = d1 / d0

        direction = int(2 + 2 * slope)
        if steep:
            direction += 4

        cube = (i * ny + j) * nz + k
        keys[e] = cube * N_DIRECTIONS + direction

    return keys, nx * ny * nz * N_DIRECTIONS


@njit(nogil=True)
def _counting_sort(keys, n_keys):  # type: ignore[no-untyped-def]
    """The stable permutation (n,) that sorts `keys` (n,), numbers below `n_keys`."""
    start = np.zeros(n_keys + 1, np.int64)
    for key in keys:
        start[key + 1] += 1
    for key in range(n_keys):
        start[key + 1] += start[key]

    order = np.empty(keys.size, np.int64)
    for e in range(keys.size):
        order[start[keys[e]]] = e
        start[keys[e]] += 1

    return order
