"""Sensitivity image: the back projection of all LORs with their weights and attenuation.

On a scanner of identical rings all LORs are summed, none sampled. The LORs of two detector columns
lie in one plane along the axis: that slab of the attenuation map is cut out once, every pair of
rings is traced through it and back into a slab of its own, and the slab is added to the image. This
is Joseph's method of `projector` with its sums in another order. On other scanners all pairs of
detectors are summed if they are few, else a sample of them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import math
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba as nb
import numpy as np
from scipy.ndimage import gaussian_filter

from ..constants import FWHM_PER_SIGMA
from ..io.files import atomic
from ..scanner.cylinder import AnyScanner
from . import joseph
from .projector_cpu import N_PARTS, Projector

COLUMN_PAIRS = 128  # traced at a time: their weights are rings^2 numbers each
PAIRS = 20_000_000  # of detectors: with more, a scanner without rings is sampled
BATCH = 1 << 18

Step = Callable[[int], None]


def sensitivity(
    projector: Projector, mu_per_cm: np.ndarray, step: Step = lambda n: None, max_pairs: int = PAIRS
) -> np.ndarray:
    """s = sum over LORs of w a A^T 1, in counts per (Bq/mL) and s: (X, Y, Z) float32.

    `mu_per_cm` (X, Y, Z) on the projector's grid. `step(n)` is told of n of `work(scanner)`
    detector pairs done.
    """
    ids, mu = (
        projector.scanner.ring_ids(),
        np.ascontiguousarray(mu_per_cm, np.float32) / np.float32(10),
    )
    total = (
        _pairs(projector, mu, step, max_pairs)
        if ids is None
        else _columns(projector, mu, ids, step)
    )
    return (total * 1e-3).astype(np.float32)  # Bq/mL to Bq/mm3


def work(scanner: AnyScanner, max_pairs: int = PAIRS) -> int:
    """Detector pairs that `sensitivity` goes through: of columns where there are rings."""
    ids = scanner.ring_ids()
    n = scanner.n_detectors if ids is None else ids.shape[1]
    pairs = n * (n - 1) // 2
    return pairs if ids is not None else min(pairs, max_pairs)


def cached(
    projector: Projector, mu_per_cm: np.ndarray, folder: Path | None, step: Step = lambda n: None
) -> np.ndarray:
    """As `sensitivity`, kept in `folder` under a key of detectors, weights, grid, attenuation and
    this code.
    """
    if folder is None:
        return sensitivity(projector, mu_per_cm, step)
    path = folder / f"sensitivity-{key(projector, mu_per_cm)}.npy"
    if path.exists():
        try:
            found = np.load(path)
            if list(found.shape) == list(projector.grid.shape):
                step(work(projector.scanner))
                return np.asarray(found)
        except (ValueError, OSError, EOFError):
            pass  # a damaged file in the cache is made again
    image = sensitivity(projector, mu_per_cm, step)
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.save(file, image)
    return image


def key(projector: Projector, mu_per_cm: np.ndarray) -> str:
    """Hash of all that the sensitivity image depends on: the scanner, field by field, grid,
    attenuation and code.
    """
    scanner, content = projector.scanner, hashlib.sha256()
    for code in (sys.modules[__name__], joseph, type(scanner)):
        content.update(inspect.getsource(code).encode())
    content.update(repr((projector.grid.shape, projector.grid.voxel_mm)).encode())
    for field in dataclasses.fields(scanner):  # type: ignore[arg-type]
        value = getattr(scanner, field.name)
        content.update(field.name.encode())
        content.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    content.update(np.ascontiguousarray(mu_per_cm, np.float32).tobytes())
    return content.hexdigest()[:24]


# --- scanners made of identical rings ---------------------------------------------------------------


def _columns(projector: Projector, mu: np.ndarray, ids: np.ndarray, step: Step) -> np.ndarray:
    """Sum over all pairs of detector columns; (X, Y, Z) float64."""
    scanner, at = projector.scanner, projector.scanner.detector_mm().astype(np.float64)
    xy, z = at[ids[0], :2], at[ids[:, 0], 2]
    first, second = np.triu_indices(ids.shape[1], 1)
    if np.any(_weights(scanner, ids[:, None], ids[None, :])):
        raise ValueError(
            "scanner: detectors of one column along the axis are in coincidence; expected none"
        )
    slab = _Slab(projector, z)
    columns = np.asarray(np.pad(mu, ((1, 1), (1, 1), (slab.before, slab.after))), np.float32)
    attenuating = np.any(mu != 0)
    bounds = np.linspace(0, len(first), N_PARTS + 1).astype(int)

    def part(a: int, b: int) -> np.ndarray:
        out = np.zeros(columns.shape)
        for start in range(a, b, COLUMN_PAIRS):
            some = slice(start, min(start + COLUMN_PAIRS, b))
            one, two = ids[:, first[some]].T[:, :, None], ids[:, second[some]].T[:, None, :]
            weight = _weights(scanner, one, two)
            steep = (
                np.abs(z[:, None] - z)
                > np.abs(xy[second[some]] - xy[first[some]]).max(axis=1)[:, None, None]
            )
            lines = np.where(steep, 0, weight).astype(np.float32)
            used = lines.any(axis=(1, 2))
            _trace_columns(
                xy[first[some]][used], xy[second[some]][used], slab.rings, lines[used], columns, out,
                slab.voxel, attenuating, z,
            )  # fmt: skip
            if np.any(steep & (weight > 0)):
                det0, det1 = (np.broadcast_to(side, steep.shape)[steep] for side in (one, two))
                out[:, :, slab.inside] += np.pad(
                    _lines(projector, mu, det0, det1), ((1, 1), (1, 1), (0, 0))
                )
            step(some.stop - some.start)
        return out

    with ThreadPoolExecutor(projector.threads) as pool:
        total = sum(pool.map(part, bounds[:-1], bounds[1:]))
    return np.asarray(total)[1:-1, 1:-1, slab.inside]


def _weights(scanner: AnyScanner, det0: np.ndarray, det1: np.ndarray) -> np.ndarray:
    """LOR weights of detector ids of any shapes that broadcast."""
    pairs = np.broadcast_arrays(det0, det1)
    return scanner.lor_weights(*(ids.ravel() for ids in pairs)).reshape(pairs[0].shape)


class _Slab:
    """Where rings lie in slices, and how many empty slices make room for those beyond the image."""

    def __init__(self, projector: Projector, z_mm: np.ndarray) -> None:
        nz, voxel = projector.grid.shape[2], np.asarray(projector.grid.voxel_mm, np.float64)
        rings = z_mm / voxel[2] + (nz - 1) / 2
        self.before = 1 + max(0, -math.floor(rings.min()))
        self.after = 2 + max(0, math.floor(rings.max()) - (nz - 1))
        self.rings, self.voxel = rings + self.before, voxel
        self.inside = slice(self.before, self.before + nz)


@nb.njit(cache=True, nogil=True, fastmath=True)
def _trace_columns(xy0, xy1, rings, lines, mu, out, voxel, attenuating, z_mm):  # type: ignore[no-untyped-def]
    """Add the LORs of pairs of columns at xy0, xy1 (P, 2) mm to `out`; lines (P, R, R) float32
    holds their weights.

    `rings` (R,) are the rings' places in slices of the padded mu and out, `z_mm` (R,) those in mm.
    """
    nx, ny, nz = mu.shape[0] - 2, mu.shape[1] - 2, mu.shape[2]
    n_most = max(nx, ny)
    cut, add = np.empty((n_most, nz), np.float32), np.empty((n_most, nz), np.float32)
    part, place, fraction = (
        np.empty(n_most),
        np.empty(n_most, np.int64),
        np.empty(n_most, np.float32),
    )
    for p in range(len(xy0)):
        dx, dy = xy1[p, 0] - xy0[p, 0], xy1[p, 1] - xy0[p, 1]
        main = 0 if abs(dx) >= abs(dy) else 1
        nk, nu = (nx, ny) if main == 0 else (ny, nx)
        dk, du, vk, vu = (dx, dy, voxel[0], voxel[1]) if main == 0 else (dy, dx, voxel[1], voxel[0])
        k0, u0 = xy0[p, main], xy0[p, 1 - main]
        first, last = nk, -1  # planes within the image
        low, high = nk, -1  # planes that attenuate
        for m in range(nk):
            part[m] = ((m - 0.5 * (nk - 1)) * vk - k0) / dk
            u = (u0 + part[m] * du) / vu + 0.5 * (nu - 1) + 1
            if u <= 0 or u >= nu + 1:
                continue
            first, last = min(first, m), m
            place[m], fraction[m] = int(u), u - int(u)
            i, f = place[m], fraction[m]
            one = mu[m + 1, i] if main == 0 else mu[i, m + 1]
            two = mu[m + 1, i + 1] if main == 0 else mu[i + 1, m + 1]
            most = np.float32(0)
            for k in range(nz):
                cut[m, k] = (1 - f) * one[k] + f * two[k]
                most = max(most, abs(cut[m, k]))
            if most > 0:
                low, high = min(low, m), m
        add[first : last + 1] = 0
        for a in range(len(rings)):
            for b in range(len(rings)):
                weight = lines[p, a, b]
                if weight == 0:
                    continue
                length = vk * math.sqrt(1 + (du * du + (z_mm[b] - z_mm[a]) ** 2) / (dk * dk))
                start, slope = rings[a], rings[b] - rings[a]
                if attenuating:
                    total = np.float32(0)
                    for m in range(low, high + 1):
                        w = start + part[m] * slope
                        k = int(w)
                        g = np.float32(w - k)
                        total += (1 - g) * cut[m, k] + g * cut[m, k + 1]
                    weight *= math.exp(-total * length)
                value = np.float32(weight * length)
                for m in range(first, last + 1):
                    w = start + part[m] * slope
                    k = int(w)
                    g = np.float32(w - k)
                    add[m, k] += (1 - g) * value
                    add[m, k + 1] += g * value
        for m in range(first, last + 1):
            i, f = place[m], fraction[m]
            for k in range(nz):
                if main == 0:
                    out[m + 1, i, k] += (1 - f) * add[m, k]
                    out[m + 1, i + 1, k] += f * add[m, k]
                else:
                    out[i, m + 1, k] += (1 - f) * add[m, k]
                    out[i + 1, m + 1, k] += f * add[m, k]


# --- any scanner --------------------------------------------------------------------------------------


def _lines(projector: Projector, mu: np.ndarray, det0: np.ndarray, det1: np.ndarray) -> np.ndarray:
    """The sum over these LORs, traced one by one."""
    survive = np.exp(-projector.forward(mu, det0, det1))
    value = survive * projector.scanner.lor_weights(det0, det1).astype(np.float32)
    return projector.back(value, det0, det1).astype(np.float64)


def _pairs(projector: Projector, mu: np.ndarray, step: Step, max_pairs: int) -> np.ndarray:
    """Sum over all pairs of detectors, or over a random sample of `max_pairs` of them; (X, Y, Z)
    float64.
    """
    n = projector.scanner.n_detectors
    pairs = n * (n - 1) // 2
    count = min(pairs, max_pairs)
    total = np.zeros(projector.grid.shape)
    rng = np.random.default_rng(0)
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        if count == pairs:
            det0, det1 = _pair(np.arange(start, start + size))
        else:
            det0 = rng.integers(0, n, size)
            det1 = (det0 + rng.integers(1, n, size)) % n
        seen = projector.scanner.lor_weights(det0, det1) > 0
        total += _lines(projector, mu, det0[seen], det1[seen])
        step(size)
    total *= pairs / count
    return total if count == pairs else _smooth(total, projector.grid.voxel_mm)


def _pair(number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Detectors i > j of pair number i (i - 1) / 2 + j."""
    i = ((1 + np.sqrt(1 + 8.0 * number)) / 2).astype(np.int64)
    i -= i * (i - 1) // 2 > number
    i += (i + 1) * i // 2 <= number
    return i, number - i * (i - 1) // 2


def _smooth(estimate: np.ndarray, voxel_mm: list[float]) -> np.ndarray:
    """Take the sampling noise out of an estimate, which OSEM would amplify as it does counting
    noise (14 mm FWHM).

    Near edges the Gaussian is renormalised to the voxels seen.
    """
    spread = [14.0 / FWHM_PER_SIGMA / v for v in voxel_mm]
    seen = (estimate > 1e-3 * estimate.max()).astype(np.float64)
    share = gaussian_filter(seen, spread, mode="constant")
    smooth = gaussian_filter(estimate * seen, spread, mode="constant")
    return np.asarray(np.where(seen > 0, smooth / np.maximum(share, 1e-6), 0))
