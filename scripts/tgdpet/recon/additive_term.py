"""The additive term of list-mode OSEM: randoms and scatter of each event over its attenuation and
weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numba as nb
import numpy as np

from ..listmode.background import Background
from ..scanner.cylinder import AnyScanner
from .projector_cpu import Projector, locality_order

BATCH = 1 << 18


def additive(
    projector: Projector,
    events: np.ndarray,
    mu_per_cm: np.ndarray,
    noise: Background,
    given: np.ndarray | None = None,
    step: Callable[[int], None] = lambda n: None,
) -> np.ndarray:
    """Background of each event over its LOR's attenuation and weight, (n,) float32 in Bq/mL mm.

    `given` (n,): expected background counts/s on each event's LOR and TOF bin, which then replace
    the model `noise`. An event on an LOR without weight gets inf, so that reconstruction leaves it
    out.
    """
    scanner, mu = projector.scanner, np.ascontiguousarray(mu_per_cm / np.float32(10))
    alone = replace(projector, threads=1)  # a batch a thread
    out = np.empty(len(events), np.float32)
    model = _model(scanner, noise) if given is None else None

    def work(start: int) -> int:
        part = slice(start, start + BATCH)
        order = locality_order(events[part], scanner, projector.grid, use_tof=False)
        some = events[part][order]
        det0, det1, tof = (np.ascontiguousarray(some[key]) for key in ("det0", "det1", "tof"))
        weight = scanner.lor_weights(det0, det1)
        with np.errstate(divide="ignore"):
            if model is None:
                rate = np.asarray(given)[part][order] / weight
            else:
                randoms, scatter = model(det0, det1, tof)
                rate = randoms / weight + scatter
        out[part][order] = (
            1e3 * rate * np.exp(alone.forward(mu, det0, det1))
        )  # 1e3: Bq/mm3 to Bq/mL
        return len(det0)

    with ThreadPoolExecutor(projector.threads) as pool:
        for n in pool.map(work, range(0, len(events), BATCH)):
            step(n)
    return out


def _model(scanner: AnyScanner, noise: Background) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """A function of det0, det1 and tof (n,): randoms, counts/s on LOR and bin; scatter, counts/(s
    mm^2).
    """
    source = np.array([noise.scatter_bq, *noise.scatter_centre_mm, *noise.scatter_sigma_mm])
    at, singles = scanner.detector_mm().astype(np.float64), scanner.relative_singles()
    tof_mm = np.array([scanner.tof_sigma_mm, scanner.tof_bin_mm, scanner.tof_step_mm])

    def rates(det0: np.ndarray, det1: np.ndarray, tof: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        alike = 1.0 if singles is None else singles[det0] * singles[det1]
        randoms = np.full(len(det0), noise.randoms_per_s) * alike
        if noise.scatter_bq == 0:
            return randoms, np.zeros(len(det0))
        return randoms, scatter_density(at, det0, det1, tof, source, tof_mm)

    return rates


@nb.njit(cache=True, nogil=True)
def scatter_density(at, det0, det1, tof, source, tof_mm):  # type: ignore[no-untyped-def]
    """Line integral of the Gaussian scatter source within a TOF bin, per mm^2 and s, for each event
    (n,).

    `tof_mm`: sigma, width and distance of the TOF bins. With p(l) = m + l d on the LOR, the source
    is S / ((2 pi)^1.5 sx sy sz) exp(-q(l) / 2) with a quadratic q: a Gaussian in l of variance 1/a
    about l0, which the TOF resolution widens.
    """
    out = np.empty(det0.size)
    tof_sigma, bin_mm, step_mm = tof_mm
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
        off = tof[e] * step_mm + b / a
        inside = 0.5 * (
            math.erf((off + bin_mm / 2) / spread) - math.erf((off - bin_mm / 2) / spread)
        )
        out[e] = norm * math.exp(-0.5 * (c - b * b / a)) * math.sqrt(2 * math.pi / a) * inside
    return out
