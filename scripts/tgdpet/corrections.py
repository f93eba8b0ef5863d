"""Sensitivity image and additive term: what list-mode OSEM needs beside the events."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba as nb
import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from .projector import Projector
from .scanner import FWHM_PER_SIGMA, Scanner
from .simulate import Background

N_LORS = 2_000_000
BATCH = 1 << 18


def sample_lors(scanner: Scanner, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Detector ids (count,) of accepted LORs number `first`.. of a low-discrepancy sequence over all LORs.

    The additive recurrence with the generalised golden ratio (Roberts 2018) covers angle, radius and ring pair
    evenly, so that sums over LORs converge much faster than with random ones.
    """
    root = 1.0
    for _ in range(60):  # root of x^5 = x + 1: the ratio for four dimensions
        root = (1 + root) ** 0.2
    i = np.arange(first + 1, first + count + 1)
    u = [(0.5 + i * root ** -(d + 1)) % 1.0 for d in range(4)]
    n = scanner.crystals_per_ring
    crystal0 = (u[0] * n).astype(np.int64)
    spans = n - 2 * scanner.min_crystal_difference + 1
    crystal1 = (crystal0 + scanner.min_crystal_difference + (u[1] * spans).astype(np.int64)) % n
    pairs = _ring_pairs(scanner)
    rings = pairs[(_interleave(u[2], u[3], scanner) * len(pairs)).astype(np.int64)]
    return rings[:, 0] * n + crystal0, rings[:, 1] * n + crystal1


def sensitivity(
    projector: Projector, mu_per_cm: np.ndarray, n_lors: int = N_LORS, step: Callable[[int], None] = lambda n: None
) -> np.ndarray:
    """s = sum over LORs of w a A^T 1, in counts per (Bq/mL) and s: (X, Y, Z) float32.

    `mu_per_cm` (X, Y, Z) on the projector's grid. Estimated from `n_lors` of all LORs.
    """
    scanner, mu = projector.scanner, mu_per_cm / np.float32(10)
    n_lors = min(n_lors, 4 * scanner.n_lors)
    total = np.zeros(projector.grid.shape, np.float64)
    for first in range(0, n_lors, BATCH):
        det0, det1 = sample_lors(scanner, first, min(BATCH, n_lors - first))
        survive = np.exp(-projector.forward(mu, det0, det1))
        value = survive * lor_weights(scanner, det0, det1).astype(np.float32)
        total += projector.back(value, det0, det1)
        step(len(det0))
    scale = scanner.n_lors / n_lors * 1e-3  # 1e-3: Bq/mL to Bq/mm3
    return _smooth(total * scale, projector.grid.voxel_mm).astype(np.float32)


def _smooth(estimate: np.ndarray, voxel_mm: list[float]) -> np.ndarray:
    """Take the sampling noise out of a sensitivity estimate, which OSEM would amplify as it does counting noise.

    The axial profile, the one sharp feature, is divided out first and put back after a Gaussian of 14 mm FWHM.
    """
    profile = estimate.mean(axis=(0, 1))
    seen = profile > 1e-3 * profile.max()  # slices beyond the detectors must not leak into the outermost seen ones
    flat = np.where(seen, estimate / np.where(seen, profile, 1), 0)
    spread = [14.0 / FWHM_PER_SIGMA / v for v in voxel_mm]
    share = gaussian_filter1d(seen.astype(np.float64), spread[2], mode="nearest")
    smooth = gaussian_filter(flat, spread, mode="nearest") / np.where(seen, share, 1)
    return np.asarray(smooth * np.where(seen, profile, 0))


def lor_weights(scanner: Scanner, det0: np.ndarray, det1: np.ndarray) -> np.ndarray:
    """Geometric weight w (mm^2) of LORs (n,): K cos_0 cos_1 / D^2 (see `Scanner.weight_constant_mm4`)."""
    at = scanner.detector_mm().astype(np.float64)
    d = at[det1] - at[det0]
    across2 = d[:, 0] ** 2 + d[:, 1] ** 2
    length2 = across2 + d[:, 2] ** 2
    # both ends meet the cylinder at the same angle: cos = (across / 2R) * (across / D)
    cosine2 = (across2 / (2 * scanner.radius_mm)) ** 2 / length2
    return np.asarray(scanner.weight_constant_mm4() * cosine2 / length2)


def additive(
    projector: Projector, events: np.ndarray, mu_per_cm: np.ndarray, noise: Background, threads: int = 1
) -> np.ndarray:
    """Background of each event over its LOR's attenuation and weight, (n,) float32 in Bq/mL mm."""
    scanner, mu = projector.scanner, np.ascontiguousarray(mu_per_cm / np.float32(10))
    out = np.empty(len(events), np.float32)
    per_w = 1e3 * noise.randoms_per_s  # 1e3: Bq/mm3 to Bq/mL
    source = np.array([noise.scatter_bq, *noise.scatter_centre_mm, *noise.scatter_sigma_mm])
    at = scanner.detector_mm().astype(np.float64)

    def work(start: int) -> None:
        part = slice(start, start + BATCH)
        det0, det1 = np.ascontiguousarray(events["det0"][part]), np.ascontiguousarray(events["det1"][part])
        tof = np.ascontiguousarray(events["tof"][part])
        grow = np.exp(projector.forward(mu, det0, det1))
        randoms = per_w / lor_weights(scanner, det0, det1)
        scatter = 1e3 * scatter_density(at, det0, det1, tof, source, scanner.tof_sigma_mm, scanner.tof_bin_mm)
        out[part] = (randoms + scatter) * grow

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(0, len(events), BATCH)))
    return out


@nb.njit(cache=True, nogil=True)
def scatter_density(at, det0, det1, tof, source, tof_sigma, bin_mm):  # type: ignore[no-untyped-def]
    """Line integral of the Gaussian scatter source within a TOF bin, per mm^2 and s, for each event (n,).

    With p(l) = m + l d on the LOR, the source is S / ((2 pi)^1.5 sx sy sz) exp(-q(l) / 2) with a quadratic q: a
    Gaussian in l of variance 1/a about l0, which the TOF resolution widens.
    """
    out = np.empty(det0.size)
    norm = source[0] / ((2 * math.pi) ** 1.5 * source[4] * source[5] * source[6])
    for e in range(det0.size):
        p, q = at[det0[e]], at[det1[e]]
        length = math.sqrt((q[0] - p[0]) ** 2 + (q[1] - p[1]) ** 2 + (q[2] - p[2]) ** 2)
        a = b = c = 0.0
        for k in range(3):
            d = (q[k] - p[k]) / length / source[4 + k]
            m = (0.5 * (p[k] + q[k]) - source[1 + k]) / source[4 + k]
            a += d * d
            b += d * m
            c += m * m
        spread = math.sqrt(2 * (1 / a + tof_sigma**2))
        off = tof[e] * bin_mm + b / a
        inside = 0.5 * (math.erf((off + bin_mm / 2) / spread) - math.erf((off - bin_mm / 2) / spread))
        out[e] = norm * math.exp(-0.5 * (c - b * b / a)) * math.sqrt(2 * math.pi / a) * inside
    return out


def _ring_pairs(scanner: Scanner) -> np.ndarray:
    first, second = np.divmod(np.arange(scanner.rings**2), scanner.rings)
    return np.stack([first, second], axis=1)[np.abs(first - second) <= scanner.max_ring_difference]


def _interleave(u: np.ndarray, v: np.ndarray, scanner: Scanner) -> np.ndarray:
    """One coordinate over the ring pairs from two: u picks the block of pairs, v the place within it."""
    blocks = scanner.rings
    return (np.floor(u * blocks) + v) / blocks
