"""Sensitivity of a scanner of identical rings: all LORs, by pairs of detector columns.

The LORs of two columns lie in one plane along the axis: that slab of the attenuation map is cut out
once, every pair of rings is traced through it and back into a slab of its own, and the slab is
added to the image. This is Joseph's method of `projector_cpu` with its sums in another order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numba as nb
import numpy as np

from ..scanner.cylinder import AnyScanner
from .projector_cpu import N_PARTS, Projector
from .sensitivity_pairs import sum_of_lors

BORDER = (1, 1)  # voxels of zero around an image in x and y
COLUMN_PAIRS = 128  # traced at a time: their weights are rings^2 numbers each


class Slab(NamedTuple):
    """Where rings lie in slices of an image padded along z for those beyond it.

    `rings` (R,): positions in padded slices; `rings_mm` (R,): in mm. `before`, `after`: empty
    slices added; `inside`: the image's slices among them. `voxel_mm` (3,).
    """

    rings: np.ndarray
    rings_mm: np.ndarray
    before: int
    after: int
    inside: slice
    voxel_mm: np.ndarray


class ColumnPairs(NamedTuple):
    """Pairs of detector columns: ids (P, R) of both sides, their x and y (P, 2) in mm."""

    ids0: np.ndarray
    ids1: np.ndarray
    xy0_mm: np.ndarray
    xy1_mm: np.ndarray


class SlabScratch(NamedTuple):
    """The slab of one pair of columns: attenuation in 1/mm and sums, (planes, slices) float32.

    Of each plane of the main axis: how far along from column 0 to 1 the LORs cross it, the lower
    voxel across and the fraction of the way to the next one.
    """

    mu: np.ndarray
    total: np.ndarray
    along: np.ndarray
    lower: np.ndarray
    fraction: np.ndarray


class Planes(NamedTuple):
    """Planes of the main axis (0: x, 1: y) within the image, and those that attenuate.

    `dk`, `du`: the columns' distance along the main axis and across, mm; `voxel_k` in mm.
    """

    main: int
    first: int
    last: int
    first_mu: int
    last_mu: int
    dk: float
    du: float
    voxel_k: float


def sum_of_columns(
    projector: Projector, mu_per_mm: np.ndarray, ids: np.ndarray, on_pairs: Callable[[int], None]
) -> np.ndarray:
    """Sum over all pairs of detector columns; (X, Y, Z) float64.

    `mu_per_mm` (X, Y, Z), `ids` (rings, columns) as from `ring_ids`. `on_pairs(n)` is called after
    each n pairs of columns.
    """
    scanner = projector.scanner
    of_column = _weights(scanner, ids[:, None], ids[None, :])
    if np.any(of_column):
        raise ValueError(
            "scanner: detectors of one column along the axis are in coincidence; expected none"
        )

    detectors_mm = scanner.detector_mm().astype(np.float64)
    xy_mm = detectors_mm[ids[0], :2]
    slab = _slab(projector, detectors_mm[ids[:, 0], 2])

    along_z = (slab.before, slab.after)
    padded_mu = np.pad(mu_per_mm, (BORDER, BORDER, along_z))
    padded_mu = np.asarray(padded_mu, np.float32)
    attenuating = bool(np.any(mu_per_mm != 0))

    first, second = np.triu_indices(ids.shape[1], 1)
    bounds = np.linspace(0, len(first), N_PARTS + 1).astype(int)

    def part(begin: int, end: int) -> np.ndarray:
        total = np.zeros(padded_mu.shape)

        for start in range(begin, end, COLUMN_PAIRS):
            rows = slice(start, min(start + COLUMN_PAIRS, end))
            one = first[rows]
            other = second[rows]
            pairs = ColumnPairs(
                ids[:, one].T,
                ids[:, other].T,
                xy_mm[one],
                xy_mm[other],
            )

            _add_columns(projector, mu_per_mm, padded_mu, attenuating, slab, pairs, total)
            on_pairs(rows.stop - rows.start)

        return total

    with ThreadPoolExecutor(projector.threads) as pool:
        parts = pool.map(part, bounds[:-1], bounds[1:])
        total = np.asarray(sum(parts))

    return total[1:-1, 1:-1, slab.inside]


def _add_columns(
    projector: Projector,
    mu_per_mm: np.ndarray,
    padded_mu: np.ndarray,
    attenuating: bool,
    slab: Slab,
    pairs: ColumnPairs,
    total: np.ndarray,
) -> None:
    """Add the LORs of pairs of columns to the padded image `total`."""
    det0 = pairs.ids0[:, :, None]
    det1 = pairs.ids1[:, None, :]
    weight = _weights(projector.scanner, det0, det1)

    # LORs whose main axis is z do not run in the slab's planes
    distance_mm = np.abs(pairs.xy1_mm - pairs.xy0_mm)
    across_mm = distance_mm.max(axis=1)
    along_mm = np.abs(slab.rings_mm[:, None] - slab.rings_mm)
    steep = along_mm > across_mm[:, None, None]

    lines = np.where(steep, 0, weight).astype(np.float32)
    used = lines.any(axis=(1, 2))
    _trace_columns(
        pairs.xy0_mm[used],
        pairs.xy1_mm[used],
        slab.rings,
        slab.rings_mm,
        lines[used],
        padded_mu,
        total,
        slab.voxel_mm,
        attenuating,
    )

    if np.any(steep & (weight > 0)):
        steep0 = np.broadcast_to(det0, steep.shape)[steep]
        steep1 = np.broadcast_to(det1, steep.shape)[steep]
        image = sum_of_lors(projector, mu_per_mm, steep0, steep1)
        total[1:-1, 1:-1, slab.inside] += image


def _weights(scanner: AnyScanner, det0: np.ndarray, det1: np.ndarray) -> np.ndarray:
    """LOR weights of detector ids of any shapes that broadcast."""
    det0, det1 = np.broadcast_arrays(det0, det1)

    weights = scanner.lor_weights(det0.ravel(), det1.ravel())

    return weights.reshape(det0.shape)


def _slab(projector: Projector, rings_mm: np.ndarray) -> Slab:
    """The padding along z that makes room for all rings."""
    n_slices = projector.grid.shape[2]
    voxel_mm = np.asarray(projector.grid.voxel_mm, np.float64)
    rings = rings_mm / voxel_mm[2] + (n_slices - 1) / 2

    lowest = math.floor(rings.min())
    highest = math.floor(rings.max())
    before = 1 + max(0, -lowest)
    after = 2 + max(0, highest - (n_slices - 1))
    inside = slice(before, before + n_slices)

    return Slab(rings + before, rings_mm, before, after, inside, voxel_mm)


@nb.njit(cache=True, nogil=True, fastmath=True)
def _trace_columns(  # type: ignore[no-untyped-def]
    xy0_mm, xy1_mm, rings, rings_mm, lines, mu, image, voxel_mm, attenuating
):
    """Add the LORs of pairs of columns to the padded `image`.

    `xy0_mm`, `xy1_mm` (P, 2); `lines` (P, R, R) float32: the LORs' weights; `mu` in 1/mm; `rings`
    (R,): the rings' positions in slices of the padded `mu` and `image`, `rings_mm` (R,) those in
    mm.
    """
    n_slices = mu.shape[2]
    n_planes = max(mu.shape[0] - 2, mu.shape[1] - 2)
    scratch = SlabScratch(
        np.empty((n_planes, n_slices), np.float32),
        np.empty((n_planes, n_slices), np.float32),
        np.empty(n_planes),
        np.empty(n_planes, np.int64),
        np.empty(n_planes, np.float32),
    )

    for p in range(len(xy0_mm)):
        planes = _cut_slab(xy0_mm[p], xy1_mm[p], mu, voxel_mm, scratch)
        scratch.total[planes.first : planes.last + 1] = 0

        for a in range(len(rings)):
            for b in range(len(rings)):
                weight = lines[p, a, b]
                if weight == 0:
                    continue

                # path length between two planes
                dz = rings_mm[b] - rings_mm[a]
                across2 = planes.du * planes.du + dz**2
                along2 = planes.dk * planes.dk
                plane_mm = planes.voxel_k * math.sqrt(1 + across2 / along2)

                start = rings[a]
                slope = rings[b] - rings[a]

                if attenuating:
                    mu_total = _along_line(start, slope, planes, scratch)
                    weight *= math.exp(-mu_total * plane_mm)

                value = np.float32(weight * plane_mm)
                _back_along_line(value, start, slope, planes, scratch)

        _add_slab(image, planes, scratch)


@nb.njit(inline="always")
def _cut_slab(xy0_mm, xy1_mm, mu, voxel_mm, scratch):  # type: ignore[no-untyped-def]
    """Cut the slab between two columns out of the attenuation map, into the scratch."""
    nx = mu.shape[0] - 2
    ny = mu.shape[1] - 2
    n_slices = mu.shape[2]
    dx = xy1_mm[0] - xy0_mm[0]
    dy = xy1_mm[1] - xy0_mm[1]

    # k: the main axis, u: the one across
    if abs(dx) >= abs(dy):
        main = 0
        nk = nx
        nu = ny
        dk = dx
        du = dy
    else:
        main = 1
        nk = ny
        nu = nx
        dk = dy
        du = dx

    across = 1 - main
    voxel_k = voxel_mm[main]
    voxel_u = voxel_mm[across]
    k0 = xy0_mm[main]
    u0 = xy0_mm[across]

    first = nk
    last = -1
    first_mu = nk
    last_mu = -1

    for m in range(nk):
        plane_k = (m - 0.5 * (nk - 1)) * voxel_k
        along = (plane_k - k0) / dk
        scratch.along[m] = along

        # between the two columns
        if along < 0 or along > 1:
            continue

        u_mm = u0 + along * du
        u = u_mm / voxel_u + 0.5 * (nu - 1) + 1
        if u <= 0 or u >= nu + 1:
            continue

        first = min(first, m)
        last = m

        i = int(u)
        f = np.float32(u - i)
        scratch.lower[m] = i
        scratch.fraction[m] = f

        if main == 0:
            near = mu[m + 1, i]
            far = mu[m + 1, i + 1]
        else:
            near = mu[i, m + 1]
            far = mu[i + 1, m + 1]

        most = np.float32(0)
        for k in range(n_slices):
            value = (1 - f) * near[k] + f * far[k]
            scratch.mu[m, k] = value
            most = max(most, abs(value))

        if most > 0:
            first_mu = min(first_mu, m)
            last_mu = m

    return Planes(main, first, last, first_mu, last_mu, dk, du, voxel_k)


@nb.njit(inline="always")
def _along_line(start, slope, planes, scratch):  # type: ignore[no-untyped-def]
    """Sum of the slab's attenuation where an LOR crosses the planes, 1/mm."""
    total = np.float32(0)

    for m in range(planes.first_mu, planes.last_mu + 1):
        w = start + scratch.along[m] * slope
        k = int(w)
        g = np.float32(w - k)

        lower = scratch.mu[m, k]
        upper = scratch.mu[m, k + 1]
        total += (1 - g) * lower + g * upper

    return total


@nb.njit(inline="always")
def _back_along_line(value, start, slope, planes, scratch):  # type: ignore[no-untyped-def]
    """Add `value` to the slab's sums where an LOR crosses the planes."""
    for m in range(planes.first, planes.last + 1):
        w = start + scratch.along[m] * slope
        k = int(w)
        g = np.float32(w - k)

        scratch.total[m, k] += (1 - g) * value
        scratch.total[m, k + 1] += g * value


@nb.njit(inline="always")
def _add_slab(image, planes, scratch):  # type: ignore[no-untyped-def]
    """Add the slab's sums to the padded image."""
    for m in range(planes.first, planes.last + 1):
        i = scratch.lower[m]
        f = scratch.fraction[m]

        for k in range(image.shape[2]):
            value = scratch.total[m, k]
            if planes.main == 0:
                image[m + 1, i, k] += (1 - f) * value
                image[m + 1, i + 1, k] += f * value
            else:
                image[i, m + 1, k] += (1 - f) * value
                image[i + 1, m + 1, k] += f * value
