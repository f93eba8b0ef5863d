"""Emissions thinned by how many of them can be detected.

Few pairs leave the body: one in eight in a trunk. So emissions are drawn thinned by a bound of
their survival, and kept with the true survival over the bound (rejection, von Neumann 1951): the
distribution is that of all emissions, at a fraction of the draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numba as nb
import numpy as np

from ..runtime.compiled import njit
from .attenuation_bounds import Blocks, Body, body_of, bound_sums, slabs_of, turn

BLOCK_MM = 16.0
N_AZIMUTHS = 32
N_SLOPES = 6

# A bin of directions: its entry of the alias table (Walker 1977), the least sum of attenuation
# across the axis along its lines, and the share that survives even where the sum is largest, of
# those that the least lets through. Packed, as each draw reads all of one bin.
BIN = np.dtype([("keep", "<f4"), ("alias", "<i4"), ("least", "<f4"), ("sure", "<f4")])


class Directions(NamedTuple):
    """What is drawn from each block, one row a block.

    `bins` (rows, azimuths, slopes) of `BIN`. `steepest` (rows,): directions have a cosine to the
    axis of at most this. `detected` (rows,): bound of the share of emissions that is detected.
    """

    bins: np.ndarray
    steepest: np.ndarray
    detected: np.ndarray


@dataclass(frozen=True)
class Thinned:
    """Voxels to draw from, flat indices (n,), and bounds (n,) of the share of each one's emissions
    that is detected; the tables by which they are drawn.
    """

    voxels: np.ndarray
    detected: np.ndarray
    body: Body
    blocks: Blocks
    directions: Directions


def thin(
    voxels: np.ndarray,
    grid: tuple[tuple[int, ...], tuple[float, ...]],
    attenuation: tuple[np.ndarray, tuple[float, float, float]],
    blur_mm: float,
    cylinder_mm: tuple[float, float],
) -> Thinned:
    """The bounds of emissions from `voxels` of a grid: flat indices (n,), shape and voxel size.

    `attenuation` is 1/mm on a grid (X, Y, Z), and its voxel size; `blur_mm` how far the blur takes
    emissions at most along each axis; `cylinder_mm` the radius and half the length of the scanner.
    Both grids are centred.
    """
    from scipy.ndimage import maximum_filter

    shape, voxel_mm = grid
    body = body_of(*attenuation)
    size_mm = np.maximum(np.round(BLOCK_MM / body.voxel_mm), 1) * body.voxel_mm
    extent_mm = np.array(shape) * voxel_mm + 2 * blur_mm
    n_blocks = np.ceil(extent_mm / size_mm).astype(np.int64)
    corner_mm = -0.5 * n_blocks * size_mm

    # the block of each voxel, and those that its blur reaches
    block_of_voxel = []
    for axis, index in enumerate(np.unravel_index(voxels, shape)):
        middle_mm = (np.arange(shape[axis]) + 0.5 - shape[axis] / 2) * voxel_mm[axis]
        block = ((middle_mm - corner_mm[axis]) / size_mm[axis]).astype(np.int64)
        block_of_voxel.append(block[index])

    filled = np.zeros(tuple(n_blocks), np.uint8)
    filled[tuple(block_of_voxel)] = 1
    width = tuple(2 * np.ceil(blur_mm / size_mm).astype(int) + 1)
    reached = maximum_filter(filled, width, mode="constant") > 0

    row = np.full(tuple(n_blocks), -1, np.int32)
    row[reached] = np.arange(reached.sum(dtype=np.int64))
    blocks = Blocks(row, corner_mm, size_mm)
    directions = _directions(body, blocks, *cylinder_mm)

    detected = np.zeros(tuple(n_blocks))
    detected[reached] = directions.detected
    detected = maximum_filter(detected, width, mode="constant")

    return Thinned(
        voxels=voxels,
        detected=detected[tuple(block_of_voxel)],
        body=body,
        blocks=blocks,
        directions=directions,
    )


def _directions(body: Body, blocks: Blocks, radius_mm: float, half_axial_mm: float) -> Directions:
    """Bins of directions from each block: what may be detected of each."""
    where = np.argwhere(blocks.row >= 0)
    centre_mm = blocks.corner_mm + (where + 0.5) * blocks.size_mm
    directions = Directions(
        bins=np.zeros((len(where), N_AZIMUTHS, N_SLOPES), BIN),
        steepest=_steepest(centre_mm, blocks.size_mm, radius_mm, half_axial_mm),
        detected=np.empty(len(where)),
    )

    slabs = slabs_of(body, blocks.size_mm)
    least = np.empty((len(where), N_SLOPES))
    most = np.empty_like(least)
    half_azimuth = 0.5 * math.pi / N_AZIMUTHS

    for n in range(N_AZIMUTHS):
        azimuth = (2 * n + 1) * half_azimuth
        turn(azimuth, tuple(body), tuple(slabs))
        bound_sums(
            least,
            most,
            azimuth,
            half_azimuth,
            directions.steepest,
            tuple(blocks),
            tuple(body),
            tuple(slabs),
        )
        _fill_bins(
            directions.bins[:, n],
            least,
            most,
            azimuth,
            half_azimuth,
            directions.steepest,
            centre_mm,
            blocks.size_mm,
            radius_mm,
            half_axial_mm,
        )

    _fill_alias_tables(directions.bins, directions.steepest, directions.detected)
    return directions


def _steepest(
    centre_mm: np.ndarray, size_mm: np.ndarray, radius_mm: float, half_axial_mm: float
) -> np.ndarray:
    """Largest |cos| to the axis (n,) with which an emission in each block can reach detectors at
    both ends.

    Across, an end is at least R - r away; the nearer axial end is H - |z| away.
    """
    x, y, z = np.abs(centre_mm).T
    r = np.hypot(x, y) + math.hypot(size_mm[0], size_mm[1]) / 2
    across = np.maximum(radius_mm - r, 1.0)
    along = np.maximum(half_axial_mm - np.maximum(z - size_mm[2] / 2, 0), 0)

    return np.asarray(along / np.hypot(along, across))


@njit(nogil=True, error_model="numpy")
def _fill_bins(  # type: ignore[no-untyped-def]
    bins,
    least,
    most,
    azimuth,
    half_azimuth,
    steepest,
    centre_mm,
    size_mm,
    radius_mm,
    half_axial_mm,
):
    """Fill bins (rows, slopes) of one azimuth; `least` is infinite where no line meets detectors at
    both ends.
    """
    n_rows, n_slopes = least.shape
    half_diagonal = 0.5 * math.hypot(size_mm[0], size_mm[1])
    cos = math.cos(azimuth)
    sin = math.sin(azimuth)

    for row in range(n_rows):
        x = centre_mm[row, 0]
        y = centre_mm[row, 1]
        below = centre_mm[row, 2] - 0.5 * size_mm[2]
        above = centre_mm[row, 2] + 0.5 * size_mm[2]

        # least distances to the cylinder along and against the direction, of all lines
        off = half_diagonal + math.hypot(x, y) * half_azimuth
        forward = x * cos + y * sin
        aside = min(abs(y * cos - x * sin) + off, radius_mm)
        half_chord = math.sqrt(radius_mm * radius_mm - aside * aside)
        far = max(half_chord - forward - off, 0.0)
        near = max(half_chord + forward - off, 0.0)

        for slope in range(n_slopes):
            cosine = steepest[row] * ((2 * slope + 1) / n_slopes - 1)
            half_cosine = steepest[row] / n_slopes
            flattest = max(abs(cosine) - half_cosine, 0.0)
            steep = min(abs(cosine) + half_cosine, 1.0)

            # the flattest line of the bin, from the most favourable end of the block
            rise = flattest / math.sqrt(1 - flattest * flattest)
            up = far if cosine > 0 else near
            down = near if cosine > 0 else far
            hits = below + rise * up < half_axial_mm and above - rise * down > -half_axial_mm
            if not hits or steepest[row] <= 0:
                bins[row, slope].least = math.inf
                continue

            # the line is longer than its part across the axis by 1 / (sine * cos of the azimuth)
            shortest = 1 / math.sqrt(1 - flattest * flattest)
            longest = 1 / (math.sqrt(1 - steep * steep) * math.cos(half_azimuth))
            bins[row, slope].least = least[row, slope] * shortest
            bins[row, slope].sure = math.exp(
                least[row, slope] * shortest - most[row, slope] * longest
            )


@njit(nogil=True)
def _fill_alias_tables(bins, steepest, detected):  # type: ignore[no-untyped-def]
    """Fill the alias table of each row of bins (rows, azimuths, slopes), and what is detected."""
    n_rows, n_azimuths, n_slopes = bins.shape
    n_bins = n_azimuths * n_slopes
    share = np.empty(n_bins)
    todo = np.empty(n_bins, np.int64)

    for row in range(n_rows):
        row_bins = bins[row].reshape(n_bins)
        detected[row] = 0.0
        for n in range(n_bins):
            share[n] = math.exp(-row_bins[n].least) * steepest[row] / n_bins
            detected[row] += share[n]

        to_mean = n_bins / max(detected[row], 1e-300)
        for n in range(n_bins):
            share[n] *= to_mean
        _fill_alias_table(row_bins, share, todo)


@nb.njit(nogil=True)
def _fill_alias_table(bins, share, todo):  # type: ignore[no-untyped-def]
    """Fill one alias table of a distribution of mean 1 (Vose 1991); uses `share` and `todo` up."""
    n_bins = share.size
    n_small = 0
    n_large = 0

    # the small ones from the left of the list, the large ones from its right
    for n in range(n_bins):
        bins[n].alias = n
        bins[n].keep = 1.0
        if share[n] < 1.0:
            todo[n_small] = n
            n_small += 1
        else:
            n_large += 1
            todo[n_bins - n_large] = n

    while n_small > 0 and n_large > 0:
        n_small -= 1
        small = todo[n_small]
        large = todo[n_bins - n_large]

        bins[small].keep = share[small]
        bins[small].alias = large
        share[large] -= 1.0 - share[small]

        if share[large] < 1.0:
            n_large -= 1
            todo[n_small] = large
            n_small += 1
