"""The additive term of list-mode OSEM: randoms and scatter of each event over its attenuation and
weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ..listmode.background import Background
from ..runtime.compiled import njit
from ..scanner.cylinder import AnyScanner
from .locality import locality_order
from .projector_cpu import Projector

EVENTS_PER_BATCH = 1 << 18
PER_ML = 1e3  # Bq/mm3 to Bq/mL


class ScatterSource(NamedTuple):
    """A Gaussian source: strength in Bq, centre and standard deviation (3,) in mm."""

    bq: float
    centre_mm: np.ndarray
    sigma_mm: np.ndarray


class TofBins(NamedTuple):
    """TOF resolution, width of the bins and distance of their centres along an LOR, mm."""

    sigma_mm: float
    bin_mm: float
    step_mm: float


def additive(
    projector: Projector,
    events: np.ndarray,
    mu_per_cm: np.ndarray,
    background: Background,
    given: np.ndarray | None = None,
    on_events: Callable[[int], None] = lambda n: None,
) -> np.ndarray:
    """Background of each event over its LOR's attenuation and weight, (n,) float32 in Bq/mL mm.

    `mu_per_cm` (X, Y, Z). `given` (n,): expected background counts/s on each event's LOR and TOF
    bin, in place of the model `background`. An event on an LOR without weight gets inf, so that
    reconstruction leaves it out. `on_events(n)` is called after each n events.
    """
    scanner = projector.scanner
    mu_per_mm = np.ascontiguousarray(mu_per_cm / np.float32(10))
    one_thread = Projector(scanner, projector.grid)  # a batch a thread
    model = _model(scanner, background) if given is None else None
    result = np.empty(len(events), np.float32)

    def batch(start: int) -> int:
        rows = slice(start, start + EVENTS_PER_BATCH)
        order = locality_order(events[rows], scanner, projector.grid, use_tof=False)
        ordered = events[rows][order]
        det0 = np.ascontiguousarray(ordered["det0"])
        det1 = np.ascontiguousarray(ordered["det1"])
        tof = np.ascontiguousarray(ordered["tof"])

        # counts/s over the LOR's weight: Bq/mm3 mm
        weight = scanner.lor_weights(det0, det1)
        with np.errstate(divide="ignore"):
            if model is None:
                rate = np.asarray(given)[rows][order] / weight
            else:
                randoms, scatter = model(det0, det1, tof)
                rate = randoms / weight + scatter

        inverse_attenuation = np.exp(one_thread.forward(mu_per_mm, det0, det1))
        result[rows][order] = PER_ML * rate * inverse_attenuation
        return len(det0)

    starts = range(0, len(events), EVENTS_PER_BATCH)
    with ThreadPoolExecutor(projector.threads) as pool:
        for n in pool.map(batch, starts):
            on_events(n)

    return result


def scatter_source(background: Background) -> ScatterSource:
    """The background's scatter as `scatter_density` takes it."""
    return ScatterSource(
        float(background.scatter_bq),
        np.array(background.scatter_centre_mm, np.float64),
        np.array(background.scatter_sigma_mm, np.float64),
    )


def tof_bins(scanner: AnyScanner) -> TofBins:
    """The scanner's TOF bins as `scatter_density` takes them."""
    return TofBins(
        float(scanner.tof_sigma_mm),
        float(scanner.tof_bin_mm),
        float(scanner.tof_step_mm),
    )


def _model(
    scanner: AnyScanner, background: Background
) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """A function of det0, det1 and tof (n,): randoms and scatter (n,).

    Randoms in counts/s on LOR and bin, scatter in counts/(s mm^2).
    """
    detectors_mm = scanner.detector_mm().astype(np.float64)
    singles = scanner.relative_singles()
    source = scatter_source(background)
    bins = tof_bins(scanner)

    def rates(det0: np.ndarray, det1: np.ndarray, tof: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        both_singles = 1.0 if singles is None else singles[det0] * singles[det1]
        randoms = np.full(len(det0), background.randoms_per_s) * both_singles

        if background.scatter_bq == 0:
            return randoms, np.zeros(len(det0))

        return randoms, scatter_density(detectors_mm, det0, det1, tof, source, bins)

    return rates


def scatter_density(
    detectors_mm: np.ndarray,
    det0: np.ndarray,
    det1: np.ndarray,
    tof: np.ndarray,
    source: ScatterSource,
    bins: TofBins,
) -> np.ndarray:
    """Line integral of the scatter source within a TOF bin, per mm^2 and s, for each event (n,).

    With p(l) = m + l d on the LOR, the source is S / ((2 pi)^1.5 sx sy sz) exp(-q(l) / 2) with a
    quadratic q: a Gaussian in l of variance 1/a about l0, which the TOF resolution widens.
    `detectors_mm` (n_detectors, 3) float64, events' detectors and TOF bins (n,).
    """
    # plain tuples: numba's cache on disk fails to load where a class of arguments was renamed
    density = _scatter_density(detectors_mm, det0, det1, tof, tuple(source), tuple(bins))

    return np.asarray(density)


@njit(nogil=True)
def _scatter_density(detectors_mm, det0, det1, tof, source_fields, bins_fields):  # type: ignore[no-untyped-def]
    source = ScatterSource(*source_fields)
    bins = TofBins(*bins_fields)
    density = np.empty(det0.size)
    centre = source.centre_mm
    sigma = source.sigma_mm

    volume = (2 * math.pi) ** 1.5 * sigma[0] * sigma[1] * sigma[2]
    peak = source.bq / volume
    half_bin = bins.bin_mm / 2

    for e in range(det0.size):
        p = detectors_mm[det0[e]]
        q = detectors_mm[det1[e]]
        d0 = q[0] - p[0]
        d1 = q[1] - p[1]
        d2 = q[2] - p[2]
        length = math.sqrt(d0**2 + d1**2 + d2**2)

        # q(l) = a l^2 + 2 b l + c
        a = 0.0
        b = 0.0
        c = 0.0
        for k in range(3):
            d = (q[k] - p[k]) / length / sigma[k]
            middle = 0.5 * (p[k] + q[k])
            m = (middle - centre[k]) / sigma[k]
            a += d * d
            b += d * m
            c += m * m

        # the widened Gaussian's share in the bin, whose centre lies `off` from l0 = -b / a
        variance = 1 / a + bins.sigma_mm**2
        spread = math.sqrt(2 * variance)
        off = tof[e] * bins.step_mm + b / a
        upper = math.erf((off + half_bin) / spread)
        lower = math.erf((off - half_bin) / spread)
        inside = 0.5 * (upper - lower)

        # times the line integral over all of the LOR
        nearest = math.exp(-0.5 * (c - b * b / a))
        width = math.sqrt(2 * math.pi / a)
        density[e] = peak * nearest * width * inside

    return density
