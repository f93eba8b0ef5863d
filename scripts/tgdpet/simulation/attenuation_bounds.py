"""Bounds of the attenuation along the lines of a bin: all that pass a block of space in directions
of a small solid angle.

The body is turned so that the bin's middle azimuth runs along an axis q, with s across. A line of
the bin stays close to the one from the block's centre: on each slab of q, the smallest and the
largest coefficient within that distance bound it (in 255 steps, rounded down and up).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba as nb
import numpy as np

from ..runtime.compiled import njit

N_LEVELS = 6
Z_VOXELS_A_LEVEL = 2
SAMPLES_A_SLAB = 2


class Body(NamedTuple):
    """Attenuation (1/mm) of the part of the grid that attenuates, with a border of one voxel of 0;
    `corner_mm` is the array's corner. Lines are sampled where q is a multiple of `step_mm`, plus an
    offset.
    """

    mu_per_mm: np.ndarray
    corner_mm: np.ndarray
    voxel_mm: np.ndarray
    step_mm: float


class Blocks(NamedTuple):
    """A lattice of blocks; `row` (X, Y, Z) is each block's row in tables, or -1."""

    row: np.ndarray
    corner_mm: np.ndarray
    size_mm: np.ndarray


class Slabs(NamedTuple):
    """The turned body in steps of `unit_per_mm`, (levels, Q, S, Z) each: least and largest near
    each cell, at level n within `across + n` cells and `along + n * Z_VOXELS_A_LEVEL` voxels.

    The largest is kept as what lies above it, 255 less it: the least of that is looked for in the
    same way. `low` and `high` (X, Y, Z) hold the body itself so. Cells are `step_mm` of the body
    wide and `slab_mm` long; the middle ones meet at the axis. `border` voxels lie before the body's
    first along z.
    """

    low: np.ndarray
    high: np.ndarray
    lowest: np.ndarray
    above: np.ndarray
    across: int
    along: int
    border: int
    slab_mm: float
    unit_per_mm: float


def body_of(mu_per_mm: np.ndarray, voxel_mm: tuple[float, float, float]) -> Body:
    """The attenuating part of a centred grid (X, Y, Z)."""
    size_mm = np.asarray(voxel_mm, np.float64)
    filled = np.nonzero(mu_per_mm)

    first = np.zeros(3, np.int64)
    stop = np.zeros(3, np.int64)
    if filled[0].size:
        first = np.array([index.min() for index in filled])
        stop = np.array([index.max() + 1 for index in filled])

    box = tuple(slice(a, b) for a, b in zip(first, stop, strict=True))
    half = np.array(mu_per_mm.shape) / 2

    return Body(
        mu_per_mm=np.pad(mu_per_mm[box].astype(np.float32), 1),
        corner_mm=(first - 1 - half) * size_mm,
        voxel_mm=size_mm,
        step_mm=float(size_mm.min()),
    )


def slabs_of(body: Body, size_mm: np.ndarray) -> Slabs:
    """Empty slabs for a body and for blocks of this size."""
    shape = np.array(body.mu_per_mm.shape)
    ends_mm = np.stack([body.corner_mm, body.corner_mm + shape * body.voxel_mm])
    farthest_mm = np.hypot(*np.abs(ends_mm[:, :2]).max(axis=0))

    across = math.ceil(math.hypot(size_mm[0], size_mm[1]) / 2 / body.step_mm)
    along = math.ceil(size_mm[2] / 2 / body.voxel_mm[2]) + 1
    border = along + N_LEVELS * Z_VOXELS_A_LEVEL
    slab_mm = SAMPLES_A_SLAB * body.step_mm
    n_q = 2 * math.ceil(farthest_mm / slab_mm)
    n_s = 2 * math.ceil(farthest_mm / body.step_mm) + 2 * (across + N_LEVELS)
    n_z = shape[2] + 2 * border

    # rounded down and up
    unit_per_mm = max(float(body.mu_per_mm.max()), 1e-9) / 255
    in_units = body.mu_per_mm / unit_per_mm
    high = np.ceil(in_units * (1 + 1e-6))

    return Slabs(
        low=np.floor(in_units * (1 - 1e-6)).astype(np.uint8),
        high=255 - np.minimum(high, 255).astype(np.uint8),
        lowest=np.zeros((N_LEVELS, n_q, n_s, n_z), np.uint8),
        above=np.zeros((N_LEVELS, n_q, n_s, n_z), np.uint8),
        across=across,
        along=along,
        border=border,
        slab_mm=slab_mm,
        unit_per_mm=unit_per_mm,
    )


@njit(nogil=True)
def turn(azimuth, body_fields, slabs_fields):  # type: ignore[no-untyped-def]
    """Fill slabs with a body turned by `azimuth` (radians)."""
    body = Body(*body_fields)
    slabs = Slabs(*slabs_fields)
    _turn(azimuth, body, slabs)
    scratch = np.empty(slabs.lowest.shape[2:], np.uint8)

    for n in range(slabs.lowest.shape[0]):
        before = max(n - 1, 0)
        wider = slabs.across if n == 0 else 1
        taller = slabs.along if n == 0 else Z_VOXELS_A_LEVEL

        for q in range(slabs.lowest.shape[1]):
            _spread(slabs.lowest[before, q], slabs.lowest[n, q], wider, taller, scratch)
            _spread(slabs.above[before, q], slabs.above[n, q], wider, taller, scratch)


@nb.njit(nogil=True)
def _turn(azimuth, body, slabs):  # type: ignore[no-untyped-def]
    """Least and largest value of the voxels that touch each turned cell, into level 0."""
    lowest = slabs.lowest[0]
    n_x, n_y, n_z = slabs.low.shape
    cos = math.cos(azimuth)
    sin = math.sin(azimuth)
    half_x_mm = 0.5 * (slabs.slab_mm * abs(cos) + body.step_mm * abs(sin))
    half_y_mm = 0.5 * (slabs.slab_mm * abs(sin) + body.step_mm * abs(cos))

    lowest.fill(0)
    slabs.above[0].fill(255)

    for q in range(lowest.shape[0]):
        q_mm = (q + 0.5 - lowest.shape[0] / 2) * slabs.slab_mm
        for s in range(lowest.shape[1]):
            s_mm = (s + 0.5 - lowest.shape[1] / 2) * body.step_mm
            x_mm = q_mm * cos - s_mm * sin - body.corner_mm[0]
            y_mm = q_mm * sin + s_mm * cos - body.corner_mm[1]

            # beyond the border, as on it, there is no attenuation
            i0 = max(math.floor((x_mm - half_x_mm) / body.voxel_mm[0]), 0)
            i1 = min(math.floor((x_mm + half_x_mm) / body.voxel_mm[0]), n_x - 1)
            j0 = max(math.floor((y_mm - half_y_mm) / body.voxel_mm[1]), 0)
            j1 = min(math.floor((y_mm + half_y_mm) / body.voxel_mm[1]), n_y - 1)
            if i1 < i0 or j1 < j0:
                continue

            low = lowest[q, s, slabs.border : slabs.border + n_z]
            above = slabs.above[0, q, s, slabs.border : slabs.border + n_z]
            low.fill(255)
            above.fill(255)
            for i in range(i0, i1 + 1):
                for j in range(j0, j1 + 1):
                    _take_less(low, slabs.low[i, j])
                    _take_less(above, slabs.high[i, j])


@nb.njit(nogil=True)
def _spread(values, least, wider, taller, across):  # type: ignore[no-untyped-def]
    """Write into `least` (S, Z) the least of the values up to so many cells away on both axes;
    `across` is scratch. Beyond the edges lies what lies on them.
    """
    n_s, n_z = values.shape
    for s in range(n_s):
        across[s].fill(255)
        for near in range(max(s - wider, 0), min(s + wider + 1, n_s)):
            _take_less(across[s], values[near])

    for s in range(n_s):
        least[s].fill(255)
        _take_less(least[s], across[s])
        for off in range(1, taller + 1):
            _take_less(least[s, off:], across[s, : n_z - off])
            _take_less(least[s, : n_z - off], across[s, off:])


@nb.njit(nogil=True)
def _take_less(values, others):  # type: ignore[no-untyped-def]
    for n in range(values.size):
        values[n] = min(values[n], others[n])


@njit(nogil=True)
def bound_sums(  # type: ignore[no-untyped-def]
    least, most, azimuth, half_azimuth, steepest, blocks_fields, body_fields, slabs_fields
):
    """Fill `least` and `most` (rows, slopes): bounds of the sum of attenuation across the axis,
    that is times the sine of a line's angle to the axis and the cosine of its azimuth in the bin.

    Slopes are `cos` to the axis in equal bins within `steepest` (rows,). `most` is infinite where
    the bin's lines part too far.
    """
    blocks = Blocks(*blocks_fields)
    body = Body(*body_fields)
    slabs = Slabs(*slabs_fields)

    for i in range(blocks.row.shape[0]):
        for j in range(blocks.row.shape[1]):
            for k in range(blocks.row.shape[2]):
                row = blocks.row[i, j, k]
                if row < 0:
                    continue

                for slope in range(least.shape[1]):
                    low, high = _sums_of_bin(
                        i,
                        j,
                        k,
                        slope,
                        least.shape[1],
                        steepest[row],
                        azimuth,
                        half_azimuth,
                        blocks,
                        body,
                        slabs,
                    )
                    least[row, slope] = low
                    most[row, slope] = high


@nb.njit(nogil=True)
def _sums_of_bin(  # type: ignore[no-untyped-def]
    i, j, k, slope, n_slopes, steepest, azimuth, half_azimuth, blocks, body, slabs
):
    cos = math.cos(azimuth)
    sin = math.sin(azimuth)
    spread = math.tan(half_azimuth)
    size = blocks.size_mm
    step_mm = body.step_mm

    # the block's centre, and how far its points lie from there
    x_mm = blocks.corner_mm[0] + (i + 0.5) * size[0]
    y_mm = blocks.corner_mm[1] + (j + 0.5) * size[1]
    z_mm = blocks.corner_mm[2] + (k + 0.5) * size[2]
    q_mm = x_mm * cos + y_mm * sin
    s_mm = y_mm * cos - x_mm * sin
    off_q_mm = 0.5 * (size[0] * abs(cos) + size[1] * abs(sin)) + 0.5 * slabs.slab_mm
    off_s_mm = 0.5 * (size[0] * abs(sin) + size[1] * abs(cos))
    off_z_mm = 0.5 * size[2]

    # z rises by this for each mm along q
    flat = steepest * (2 * slope / n_slopes - 1)
    steep = steepest * (2 * (slope + 1) / n_slopes - 1)
    rise0 = flat / math.sqrt(1 - flat * flat)
    rise1 = steep / math.sqrt(1 - steep * steep)
    longest = 1 / math.cos(half_azimuth)
    rise = 0.5 * (rise0 + rise1)
    most_rise = max(abs(rise0), abs(rise1)) * longest
    off_rise = 0.5 * (rise1 - rise0) + most_rise - most_rise / longest

    n_levels, n_q, n_s, n_z = slabs.lowest.shape
    s = math.floor(s_mm / step_mm + 0.5 * n_s)
    if s < 0 or s >= n_s:
        return 0.0, math.inf

    # z in voxels on slab q
    rise_a_slab = slabs.slab_mm * rise / body.voxel_mm[2]
    first_mm = (0.5 - 0.5 * n_q) * slabs.slab_mm - q_mm
    first_z = (z_mm + first_mm * rise - body.corner_mm[2]) / body.voxel_mm[2] + slabs.border

    # from the block outwards, on both ways, each level as far as the lines stay within it
    middle = -first_mm / slabs.slab_mm
    low = 0
    high = 0
    up = max(math.ceil(middle), 0)
    down = min(math.ceil(middle), n_q) - 1
    for level in range(n_levels):
        across_mm = (slabs.across + level) * step_mm - off_s_mm
        along_mm = (slabs.along + level * Z_VOXELS_A_LEVEL) * body.voxel_mm[2] - off_z_mm
        along_mm -= off_q_mm * abs(rise)
        reach_mm = min(across_mm / spread, along_mm / max(off_rise, 1e-9)) - off_q_mm
        reach = reach_mm / slabs.slab_mm

        while up < n_q and up - middle <= reach:
            z = math.floor(first_z + up * rise_a_slab)
            if 0 <= z < n_z:
                low += slabs.lowest[level, up, s, z]
                high += 255 - slabs.above[level, up, s, z]
            up += 1

        while down >= 0 and middle - down <= reach:
            z = math.floor(first_z + down * rise_a_slab)
            if 0 <= z < n_z:
                low += slabs.lowest[level, down, s, z]
                high += 255 - slabs.above[level, down, s, z]
            down -= 1

    parted = up < n_q or down >= 0
    per_cell = slabs.unit_per_mm * slabs.slab_mm
    return low * per_cell, math.inf if parted else high * per_cell
