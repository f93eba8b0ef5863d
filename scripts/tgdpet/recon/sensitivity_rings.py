"""Sensitivity of a scanner of identical rings: all LORs, by pairs of detector columns.

The LORs of two columns lie in one plane along the axis: that slab of the attenuation map is cut out
once, every pair of rings is traced through it and back into a slab of its own, and the slab is
added to the image. Pairs of columns that are mirror images of each other (see `symmetry`) are
traced at once. This is Joseph's method of `projector_cpu` with its sums in another order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numba as nb
import numpy as np

from ..runtime.compiled import njit
from ..scanner.cylinder import AnyScanner
from .lanes import LANES, add_along, sum_along
from .projector_cpu import N_PARTS, Projector
from .sensitivity_pairs import sum_of_lors
from .symmetry import Groups, Mirror, groups, mirrors

BORDER = (1, 1)  # voxels of zero around an image in x and y
GROUPS_AT_ONCE = 16  # of columns: their weights are LANES * rings^2 numbers each


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


class SlabScratch(NamedTuple):
    """The slabs of one group of columns: attenuation in 1/mm and sums, (planes, slices, LANES).

    Of each plane of the main axis: how far along from column 0 to 1 the LORs cross it, the lower
    voxel across and the fraction of the way to the next one. Of one LOR: where in the slabs it
    crosses each plane, the fraction of the way to the next slice, and a value a lane.
    """

    mu: np.ndarray
    total: np.ndarray
    along: np.ndarray
    lower: np.ndarray
    fraction: np.ndarray
    place: np.ndarray
    fraction_z: np.ndarray
    values: np.ndarray


class Planes(NamedTuple):
    """Planes of the main axis (0: x, 1: y) within the image and between two columns.

    `dk`, `du`: the columns' distance along the main axis and across, mm; `voxel_k` in mm.
    """

    main: int
    first: int
    last: int
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

    seen_in = mirrors(xy_mm, projector.grid.shape, slab.voxel_mm)
    of_columns = groups(xy_mm, seen_in)
    bounds = np.linspace(0, len(of_columns.used), N_PARTS + 1).astype(int)

    def part(begin: int, end: int) -> np.ndarray:
        total = np.zeros(padded_mu.shape)

        for start in range(begin, end, GROUPS_AT_ONCE):
            rows = slice(start, min(start + GROUPS_AT_ONCE, end))
            some = Groups(*(field[rows] for field in of_columns))

            lines = _lines(projector, mu_per_mm, slab, ids, xy_mm, some, total)
            _trace_columns(
                xy_mm[some.first[:, 0]],
                xy_mm[some.second[:, 0]],
                slab.rings,
                slab.rings_mm,
                lines,
                padded_mu,
                total,
                slab.voxel_mm,
                _voxel_numbers(seen_in),
                attenuating,
            )
            on_pairs(int(some.used.sum()))

        return total

    with ThreadPoolExecutor(projector.threads) as pool:
        parts = pool.map(part, bounds[:-1], bounds[1:])
        total = np.asarray(sum(parts))

    return total[1:-1, 1:-1, slab.inside]


def _voxel_numbers(mirrors: list[Mirror]) -> np.ndarray:
    """Start and steps of each mirror, (LANES, 3); idle lanes have those of lane 0."""
    numbers = [(mirror.start, mirror.step_x, mirror.step_y) for mirror in mirrors]
    missing = LANES - len(numbers)

    return np.array(numbers + missing * numbers[:1])


def _lines(
    projector: Projector,
    mu_per_mm: np.ndarray,
    slab: Slab,
    ids: np.ndarray,
    xy_mm: np.ndarray,
    some: Groups,
    total: np.ndarray,
) -> np.ndarray:
    """Weights of the LORs of groups of columns, (G, rings, rings, LANES) float32.

    LORs whose main axis is z do not run in the slab's planes: they are added to the padded image
    `total`, and weigh nothing.
    """
    group, lane = np.nonzero(some.used)
    first = some.first[group, lane]
    second = some.second[group, lane]

    det0 = ids[:, first].T[:, :, None]
    det1 = ids[:, second].T[:, None, :]
    weight = _weights(projector.scanner, det0, det1)

    across_mm = np.abs(xy_mm[second] - xy_mm[first]).max(axis=1)
    along_mm = np.abs(slab.rings_mm[:, None] - slab.rings_mm)
    steep = along_mm > across_mm[:, None, None]

    n_rings = len(slab.rings)
    lines = np.zeros((len(some.used), n_rings, n_rings, LANES), np.float32)
    lines[group, :, :, lane] = np.where(steep, 0, weight)

    if np.any(steep & (weight > 0)):
        steep0 = np.broadcast_to(det0, steep.shape)[steep]
        steep1 = np.broadcast_to(det1, steep.shape)[steep]
        image = sum_of_lors(projector, mu_per_mm, steep0, steep1)
        total[1:-1, 1:-1, slab.inside] += image

    return lines


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


@njit(nogil=True, fastmath=True)
def _trace_columns(  # type: ignore[no-untyped-def]
    xy0_mm, xy1_mm, rings, rings_mm, lines, mu, image, voxel_mm, numbers, attenuating
):
    """Add the LORs of groups of columns to the padded `image`.

    `xy0_mm`, `xy1_mm` (G, 2): the columns of lane 0; `lines` (G, R, R, LANES) float32: the LORs'
    weights; `mu` in 1/mm; `rings` (R,): the rings' positions in slices of the padded `mu` and
    `image`, `rings_mm` (R,) those in mm; `numbers` as from `_voxel_numbers`.
    """
    n_slices = mu.shape[2]
    n_planes = max(mu.shape[0] - 2, mu.shape[1] - 2)
    scratch = SlabScratch(
        np.empty((n_planes, n_slices, LANES), np.float32),
        np.empty((n_planes, n_slices, LANES), np.float32),
        np.empty(n_planes),
        np.empty(n_planes, np.int64),
        np.empty(n_planes, np.float32),
        np.empty(n_planes, np.int32),
        np.empty(n_planes, np.float32),
        np.empty(LANES, np.float32),
    )
    mu_rows = mu.reshape(-1, n_slices)
    image_rows = image.reshape(-1, n_slices)
    values = scratch.values
    mu_slabs = scratch.mu.ravel()
    sums = scratch.total.ravel()
    place = scratch.place
    fraction_z = scratch.fraction_z
    along = scratch.along

    for p in range(len(xy0_mm)):
        planes = _planes_between(xy0_mm[p], xy1_mm[p], mu.shape, voxel_mm, scratch)
        first_mu, last_mu = _cut_slabs(mu_rows, planes, numbers, scratch)
        scratch.total[planes.first : planes.last + 1] = 0

        for a in range(len(rings)):
            for b in range(len(rings)):
                weights = lines[p, a, b]
                if not np.any(weights):
                    continue

                # path length between two planes
                dz = rings_mm[b] - rings_mm[a]
                across2 = planes.du * planes.du + dz**2
                along2 = planes.dk * planes.dk
                plane_mm = planes.voxel_k * math.sqrt(1 + across2 / along2)

                start = rings[a]
                slope = rings[b] - rings[a]
                for m in range(planes.first, planes.last + 1):
                    w = start + along[m] * slope
                    k = np.int32(w)
                    place[m] = (np.int32(m) * n_slices + k) * LANES
                    fraction_z[m] = w - k

                values[:] = 0
                if attenuating:
                    sum_along(mu_slabs, place, fraction_z, first_mu, last_mu, values)

                for lane in range(LANES):
                    survive = math.exp(-values[lane] * plane_mm)
                    values[lane] = weights[lane] * survive * plane_mm

                add_along(sums, place, fraction_z, planes.first, planes.last, values)

        _add_slabs(image_rows, planes, numbers, scratch)


@nb.njit(inline="always")
def _planes_between(xy0_mm, xy1_mm, shape, voxel_mm, scratch):  # type: ignore[no-untyped-def]
    """The planes of the main axis between two columns; where LORs cross them, in the scratch."""
    nx = shape[0] - 2
    ny = shape[1] - 2
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
        scratch.lower[m] = i
        scratch.fraction[m] = u - i

    return Planes(main, first, last, dk, du, voxel_k)


@nb.njit(inline="always")
def _cut_slabs(mu_rows, planes, numbers, scratch):  # type: ignore[no-untyped-def]
    """Cut the slabs out of the attenuation map, into the scratch; first and last plane that
    attenuate.
    """
    first_mu = scratch.mu.shape[0]
    last_mu = -1

    for m in range(planes.first, planes.last + 1):
        f = scratch.fraction[m]
        most = np.float32(0)

        for lane in range(LANES):
            near, far = _rows(m, planes.main, numbers[lane], scratch)
            for k in range(mu_rows.shape[1]):
                value = (1 - f) * mu_rows[near, k] + f * mu_rows[far, k]
                scratch.mu[m, k, lane] = value
                most = max(most, abs(value))

        if most > 0:
            first_mu = min(first_mu, m)
            last_mu = m

    return first_mu, last_mu


@nb.njit(inline="always")
def _rows(m, main, numbers, scratch):  # type: ignore[no-untyped-def]
    """Numbers of the padded (x, y) on both sides of a crossing, as a mirror sees them."""
    step_k = numbers[1] if main == 0 else numbers[2]
    step_u = numbers[2] if main == 0 else numbers[1]
    near = numbers[0] + (m + 1) * step_k + scratch.lower[m] * step_u

    return near, near + step_u


@nb.njit(inline="always")
def _add_slabs(image_rows, planes, numbers, scratch):  # type: ignore[no-untyped-def]
    """Add the slabs' sums to the padded image."""
    for m in range(planes.first, planes.last + 1):
        f = scratch.fraction[m]

        for lane in range(LANES):
            near, far = _rows(m, planes.main, numbers[lane], scratch)
            for k in range(image_rows.shape[1]):
                value = scratch.total[m, k, lane]
                image_rows[near, k] += (1 - f) * value
                image_rows[far, k] += f * value
