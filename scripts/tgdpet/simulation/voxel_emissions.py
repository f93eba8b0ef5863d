"""Kernels of the true coincidences of the Monte Carlo simulation: emissions from voxels, detection,
attenuation.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba as nb
import numpy as np

from ..runtime.compiled import njit
from .attenuation_bounds import Blocks, Body
from .detection import RAY, Acceptance, Geometry, record, trace
from .random_numbers import normal, uniform
from .thinning import Directions

BATCH = 256  # emissions
SAMPLES_AT_ONCE = 16  # along a line: whole blocks of them vectorise

# An emission of a batch: its place in `Source`, position in mm, row and column in `Directions`,
# direction, and the azimuth's distance from the middle of its bin (radians).
EMISSION = np.dtype(
    [
        ("voxel", "<i8"),
        ("x", "<f8"),
        ("y", "<f8"),
        ("z", "<f8"),
        ("row", "<i8"),
        ("column", "<i8"),
        ("phi", "<f8"),
        ("off_azimuth", "<f8"),
        ("cosine", "<f8"),
    ]
)


class Source(NamedTuple):
    """Voxels to draw from: flat index (n,), cumulative distribution (n,) of thinned emissions, and
    the bound of the share detected by which they are thinned (n,); the grid's shape and voxel size.
    """

    voxels: np.ndarray
    cumulative: np.ndarray
    detected: np.ndarray
    shape: np.ndarray
    voxel_mm: np.ndarray


@njit(nogil=True, fastmath=True, error_model="numpy")
def emit_voxels(  # type: ignore[no-untyped-def]
    events,
    mean,
    source_fields,
    blocks_fields,
    directions_fields,
    body_fields,
    geometry_fields,
    acceptance_fields,
    state,
):
    """Poisson emissions (`mean` expected after thinning) from voxels; returns the number of events
    written.

    Exponential steps along the cumulative distribution visit the voxels in order, which needs no
    search. A batch of emissions takes each step together: no step waits for the memory or the
    decision of the one before.
    """
    source = Source(*source_fields)
    blocks = Blocks(*blocks_fields)
    directions = Directions(*directions_fields)
    body = Body(*body_fields)
    geometry = Geometry(*geometry_fields)
    acceptance = Acceptance(*acceptance_fields)

    batch = np.empty(BATCH, EMISSION)
    rays = np.empty(BATCH, RAY)
    kept = np.empty(BATCH, np.int64)
    n_events = 0
    position = 0.0
    voxel = 0

    while voxel < source.voxels.size:
        n, position, voxel = _draw_voxels(batch, mean, position, voxel, source, state)
        _draw_positions(batch[:n], source, geometry, state)
        n = _keep_positions(batch[:n], kept, source, blocks, directions, state)
        _draw_directions(batch, kept[:n], directions, state)
        n = _keep_seen(batch, rays, kept[:n], geometry, acceptance)
        n = _keep_surviving(batch, rays, kept[:n], directions, body, state)

        for i in kept[:n]:
            if n_events < events.size:
                phi = batch[i].phi
                n_events += record(events[n_events], rays[i], phi, geometry, acceptance, state)

    return n_events


@nb.njit(nogil=True, fastmath=True, error_model="numpy")
def _draw_voxels(batch, mean, position, voxel, source, state):  # type: ignore[no-untyped-def]
    """The voxels of the next emissions: how many, and where the cumulative distribution stands."""
    n_voxels = source.voxels.size

    for n in range(batch.size):
        position -= math.log(uniform(state)) / mean
        while voxel < n_voxels and source.cumulative[voxel] < position:
            voxel += 1
        if voxel >= n_voxels:
            return n, position, voxel

        batch[n].voxel = voxel

    return batch.size, position, voxel


@nb.njit(nogil=True, fastmath=True, error_model="numpy")
def _draw_positions(batch, source, geometry, state):  # type: ignore[no-untyped-def]
    """Where each emission of a batch takes place, with the point spread function's blur."""
    nx, ny, nz = source.shape

    for n in range(batch.size):
        index = np.uint32(source.voxels[batch[n].voxel])
        i = index // np.uint32(ny * nz)
        j = (index // np.uint32(nz)) % np.uint32(ny)
        k = index % np.uint32(nz)
        x = (i + uniform(state) - 0.5 * nx) * source.voxel_mm[0]
        y = (j + uniform(state) - 0.5 * ny) * source.voxel_mm[1]
        z = (k + uniform(state) - 0.5 * nz) * source.voxel_mm[2]

        # wider at larger radius
        widening = 1 + geometry.psf_growth_per_mm * math.sqrt(x * x + y * y)
        sigma = geometry.psf_sigma_mm * widening
        batch[n].x = x + sigma * normal(state)
        batch[n].y = y + sigma * normal(state)
        batch[n].z = z + sigma * normal(state)


@nb.njit(nogil=True, fastmath=True, error_model="numpy")
def _keep_positions(batch, kept, source, blocks, directions, state):  # type: ignore[no-untyped-def]
    """Keep of each emission what the block it lies in leaves of its voxel's bound; emissions
    outside the lattice count to the nearest block. Returns how many are kept.
    """
    nx, ny, nz = blocks.row.shape
    n_kept = 0

    for n in range(batch.size):
        i = int((batch[n].x - blocks.corner_mm[0]) / blocks.size_mm[0])
        j = int((batch[n].y - blocks.corner_mm[1]) / blocks.size_mm[1])
        k = int((batch[n].z - blocks.corner_mm[2]) / blocks.size_mm[2])
        i = min(max(i, 0), nx - 1)
        j = min(max(j, 0), ny - 1)
        k = min(max(k, 0), nz - 1)

        row = blocks.row[i, j, k]
        batch[n].row = max(row, 0)
        bound = source.detected[batch[n].voxel]
        keeps = uniform(state) * bound < directions.detected[max(row, 0)]

        kept[n_kept] = n
        n_kept += keeps and row >= 0

    return n_kept


@nb.njit(nogil=True, fastmath=True, error_model="numpy")
def _draw_directions(batch, kept, directions, state):  # type: ignore[no-untyped-def]
    """A direction for each kept emission: a bin by its row's alias table, and one within."""
    n_rows, n_azimuths, n_slopes = directions.bins.shape
    n_bins = n_azimuths * n_slopes
    bins = directions.bins.reshape(n_rows, n_bins)

    for n in kept:
        row = batch[n].row
        drawn = uniform(state) * n_bins
        column = int(drawn)
        drawn_bin = bins[row, column]
        column = column if drawn - column < drawn_bin.keep else int(drawn_bin.alias)
        batch[n].column = column

        azimuth = np.uint32(column) // np.uint32(n_slopes)
        slope = np.uint32(column) % np.uint32(n_slopes)
        off = uniform(state) - 0.5
        batch[n].off_azimuth = off * (math.pi / n_azimuths)
        batch[n].phi = (azimuth + 0.5 + off) * (math.pi / n_azimuths)
        share = 2 * (slope + uniform(state)) / n_slopes - 1
        batch[n].cosine = share * directions.steepest[row]


@nb.njit(nogil=True, fastmath=True, error_model="numpy")
def _keep_seen(batch, rays, kept, geometry, acceptance):  # type: ignore[no-untyped-def]
    """Keep the emissions whose line the scanner accepts; returns how many."""
    n_kept = 0

    for n in kept:
        pair = batch[n]
        seen = trace(rays[n], pair.x, pair.y, pair.z, pair.phi, pair.cosine, geometry, acceptance)
        kept[n_kept] = n
        n_kept += seen

    return n_kept


@nb.njit(nogil=True, fastmath=True, error_model="numpy")
def _keep_surviving(batch, rays, kept, directions, body, state):  # type: ignore[no-untyped-def]
    """Keep of each emission what the attenuation along its line leaves of its bin's bound; returns
    how many.
    """
    n_rows, n_azimuths, n_slopes = directions.bins.shape
    bins = directions.bins.reshape(n_rows, n_azimuths * n_slopes)
    n_kept = 0

    for n in kept:
        pair = batch[n]
        drawn_bin = bins[pair.row, pair.column]

        # most survive for sure, given the bound
        chance = uniform(state)
        survives = chance < drawn_bin.sure
        if not survives:
            limit = drawn_bin.least - math.log(chance)
            survives = _survives(pair, rays[n], limit, body, state)

        kept[n_kept] = n
        n_kept += survives

    return n_kept


@nb.njit(nogil=True, fastmath=True, error_model="numpy")
def _survives(pair, ray, limit, body, state):  # type: ignore[no-untyped-def]
    """Whether the attenuation along a line stays below `limit`.

    It is sampled in steps along the bin's middle azimuth, from a random offset, as in the bounds.
    """
    nx, ny, nz = body.mu_per_mm.shape
    mu = body.mu_per_mm.reshape(-1)

    cos_off = math.cos(pair.off_azimuth)
    sin_off = math.sin(pair.off_azimuth)
    step_mm = body.step_mm / (ray.sine * cos_off)
    q_mm = ray.forward * cos_off - ray.aside * sin_off
    phase = uniform(state) - q_mm / body.step_mm

    # in voxels, by step
    u = (pair.x - body.corner_mm[0]) / body.voxel_mm[0]
    v = (pair.y - body.corner_mm[1]) / body.voxel_mm[1]
    w = (pair.z - body.corner_mm[2]) / body.voxel_mm[2]
    du = ray.sine * ray.cos_phi * step_mm / body.voxel_mm[0]
    dv = ray.sine * ray.sin_phi * step_mm / body.voxel_mm[1]
    dw = pair.cosine * step_mm / body.voxel_mm[2]

    # the steps within the body's box, whose border holds no attenuation
    first = -1e9
    last = 1e9
    first, last = _clipped(u, du, 1.0, nx - 1.0, first, last)
    first, last = _clipped(v, dv, 1.0, ny - 1.0, first, last)
    first, last = _clipped(w, dw, 1.0, nz - 1.0, first, last)
    n = math.ceil(first - phase)
    stop = math.floor(last - phase)

    start_u = np.float32(u + (n + phase) * du)
    start_v = np.float32(v + (n + phase) * dv)
    start_w = np.float32(w + (n + phase) * dw)
    step_u = np.float32(du)
    step_v = np.float32(dv)
    step_w = np.float32(dw)
    n_y = np.int32(ny)
    n_z = np.int32(nz)
    half = np.float32(0.5)
    top_u = np.float32(nx - 0.5)
    top_v = np.float32(ny - 0.5)
    top_w = np.float32(nz - 0.5)

    left = limit / step_mm
    done = 0
    while n + done <= stop:
        total = np.float32(0)
        for k in range(SAMPLES_AT_ONCE):
            t = np.float32(done + k)
            # beyond the end: into the border
            i = np.int32(min(max(start_u + t * step_u, half), top_u))
            j = np.int32(min(max(start_v + t * step_v, half), top_v))
            h = np.int32(min(max(start_w + t * step_w, half), top_w))
            total += mu[np.uint32((i * n_y + j) * n_z + h)]

        left -= total
        if left < 0:
            return False
        done += SAMPLES_AT_ONCE

    return True


@nb.njit(nogil=True, fastmath=True, error_model="numpy")
def _clipped(start, slope, low, high, first, last):  # type: ignore[no-untyped-def]
    """The part of first..last where start + t * slope lies within low..high."""
    if abs(slope) < 1e-9:
        if start < low or start > high:
            return 0.0, -1.0
        return first, last

    a = (low - start) / slope
    b = (high - start) / slope

    return max(first, min(a, b)), min(last, max(a, b))
