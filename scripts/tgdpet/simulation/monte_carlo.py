"""Monte Carlo list mode of a phantom on a cylindrical TOF scanner.

Trues: emissions drawn from the painted activity, blurred by a Gaussian point spread function that
grows with radius (positron range, non-collinearity, crystal penetration), sent in isotropic
directions, each pair surviving the attenuation along its line, hit crystals recorded, TOF blurred
by a Gaussian.
Scatter: the same without attenuation from one broad Gaussian source fitted to the body, so that its
density on every LOR and TOF bin has a closed form (`recon.additive_term`). Randoms: uniform
over accepted LORs and TOF bins. Time runs in slices, events within a slice are in random order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..config.sections import Simulation
from ..constants import FDG_HALF_LIFE_S, FWHM_PER_SIGMA
from ..listmode.background import Background
from ..listmode.events import EVENT
from ..runtime.seeds import derive
from ..scanner.cylinder import Scanner
from . import thinning
from .background_emissions import emit_gaussian, emit_randoms
from .detection import acceptance_of, geometry_of
from .phantom import Phantom, grid_axes_mm
from .random_numbers import state_of
from .thinning import Thinned
from .voxel_emissions import Source, emit_voxels

PILOT = 200_000.0  # emissions that measure what share of trues and of scatter is detected


@dataclass(frozen=True)
class Scan:
    """What is simulated: source and attenuation on a centred grid, durations, and what follows from
    them.
    """

    activity_bq: np.ndarray  # (X, Y, Z) per voxel at scan start
    voxel_mm: tuple[float, float, float]
    mu_per_mm: np.ndarray  # on the coarser image grid: it stays in the processor's cache
    mu_voxel_mm: tuple[float, float, float]
    scanner: Scanner
    settings: Simulation

    @property
    def effective_s(self) -> float:
        """Integral of the decay over the scan, s: activity at scan start times this is the number
        of decays.
        """
        return effective_time_s(self.settings.scan_s)

    @cached_property
    def thinned(self) -> Thinned:
        """The voxels with activity, and by how much emissions from each are thinned.

        ValueError if there is none.
        """
        voxels = np.flatnonzero(self.activity_bq)
        if voxels.size == 0:
            raise ValueError("simulation: the phantom holds no activity inside the grid")

        grid = (self.activity_bq.shape, self.voxel_mm)
        attenuation = (self.mu_per_mm, self.mu_voxel_mm)
        cylinder_mm = (self.scanner.radius_mm, self.scanner.axial_mm / 2)

        return thinning.thin(voxels, grid, attenuation, self._blur_mm(), cylinder_mm)

    def _blur_mm(self) -> float:
        """How far the blur reaches: 4.5 standard deviations where it is widest."""
        x_mm, y_mm, _ = np.array(self.activity_bq.shape) * self.voxel_mm
        radius_mm = math.hypot(x_mm, y_mm) / 2
        widening = 1 + self.settings.psf_radial_slope * radius_mm / 300

        return 4.5 * self.settings.psf_fwhm_mm * widening / FWHM_PER_SIGMA


def effective_time_s(scan_s: float) -> float:
    """(1 - exp(-lambda T)) / lambda of FDG, s."""
    rate = math.log(2) / FDG_HALF_LIFE_S
    return -math.expm1(-rate * scan_s) / rate


def scan_of(
    fine: Phantom,
    coarse: Phantom,
    voxel_mm: tuple[float, ...],
    scanner: Scanner,
    settings: Simulation,
) -> Scan:
    """The scan of a phantom painted on `voxel_mm` and of its block means on the image grid.

    Activity is SUV times dose per weight, decayed to scan start, in Bq per voxel.
    """
    bq_per_suv = bqml_per_suv(settings) * math.prod(voxel_mm) * 1e-3  # mL to mm3
    factor = len(fine.suv) // len(coarse.suv)

    return Scan(
        activity_bq=fine.suv * np.float32(bq_per_suv),
        voxel_mm=_triple(voxel_mm),
        mu_per_mm=coarse.mu_per_cm / 10,
        mu_voxel_mm=_triple(v * factor for v in voxel_mm),
        scanner=scanner,
        settings=settings,
    )


def bqml_per_suv(settings: Simulation) -> float:
    """Activity concentration of SUV 1 at scan start, Bq/mL."""
    half_lives = settings.uptake_min * 60 / FDG_HALF_LIFE_S

    return settings.dose_mbq_per_kg * 1e3 * float(0.5**half_lives)


def _triple(values: Iterable[float]) -> tuple[float, float, float]:
    x, y, z = values
    return x, y, z


def background(scan: Scan, seed: int) -> Background:
    """Scatter and randoms that give the configured fractions, from a pilot of `PILOT` emissions."""
    settings = scan.settings
    seconds = scan.effective_s
    pilot = _Source(scan, seconds, seed)

    # detected trues, and detected scatter for each decay of the scatter source
    decays = float(scan.activity_bq.sum(dtype=np.float64)) * seconds
    detected = pilot.trues(PILOT, derive(seed, "pilot"))
    trues = detected / PILOT * decays

    centre, sigma = _moments(scan)
    detected = pilot.scatter(PILOT, centre, sigma, derive(seed, "pilot scatter"))
    seen_per_decay = detected / PILOT

    # fractions are of all events: s = f / (1 - f) of the others
    fraction = settings.scatter_fraction
    scattered = trues * fraction / (1 - fraction)
    fraction = settings.randoms_fraction
    randoms = (trues + scattered) * fraction / (1 - fraction)

    return Background(
        scatter_bq=scattered / max(seen_per_decay, 1e-12) / seconds,
        scatter_centre_mm=[float(v) for v in centre],
        scatter_sigma_mm=[float(v) for v in sigma],
        randoms_per_s=randoms / _n_cells(scan.scanner) / seconds,
    )


def _n_cells(scanner: Scanner) -> int:
    """Number of accepted LORs times TOF bins."""
    return scanner.n_lors * (2 * scanner.tof_half_bins + 1)


def simulate(
    scan: Scan, noise: Background, seed: int, threads: int = 1, slices: int = 64
) -> Iterator[np.ndarray]:
    """Yield the events of consecutive time slices, (n,) of `EVENT`; the same for any number of
    threads.
    """
    source = _Source(scan, scan.effective_s / slices, seed)

    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, slices, threads):
            batch = range(first, min(first + threads, slices))
            yield from pool.map(lambda i: source.slice(i, noise), batch)


class _Source:
    """Prepared arrays for the kernels, for emissions during `seconds` of effective time."""

    def __init__(self, scan: Scan, seconds: float, seed: int) -> None:
        self.scan = scan
        self.seconds = seconds
        self.seed = seed

        self.thinned = thinned = scan.thinned
        activity_bq = scan.activity_bq.ravel()
        detected_bq = activity_bq[thinned.voxels] * thinned.detected
        cumulative_bq = np.cumsum(detected_bq, dtype=np.float64)
        self.total_bq = float(activity_bq.sum(dtype=np.float64))
        self.thinned_bq = float(cumulative_bq[-1])
        self.source = Source(
            voxels=thinned.voxels,
            cumulative=cumulative_bq / self.thinned_bq,
            detected=thinned.detected,
            shape=np.array(scan.activity_bq.shape, np.int64),
            voxel_mm=np.asarray(scan.voxel_mm, np.float64),
        )

        scanner = scan.scanner
        self.geometry = geometry_of(scanner, scan.settings)
        self.acceptance = acceptance_of(scanner)
        self.pair_efficiency = scanner.efficiency**2

        # the steepest line that crosses the field of view and meets the detectors at both ends
        half_chord2 = scanner.radius_mm**2 - scanner.fov_radius_mm**2
        chord_mm = 2 * math.sqrt(half_chord2)
        self.cos_max = scanner.axial_mm / math.hypot(scanner.axial_mm, chord_mm)

    def trues(self, emissions: float, seed: int) -> float:
        """Detected trues (efficiency included) that a pilot of so many emissions stands for."""
        n_events = self._emit_trues(_buffer(emissions), emissions, seed)

        return n_events * self.thinned_bq / self.total_bq * self.pair_efficiency

    def scatter(self, emissions: float, centre: np.ndarray, sigma: np.ndarray, seed: int) -> float:
        """As `trues`, for the scatter source."""
        n_events = self._emit_scatter(_buffer(emissions), emissions, centre, sigma, seed)

        return n_events * self.cos_max * self.pair_efficiency

    def slice(self, index: int, noise: Background) -> np.ndarray:
        """All events of one time slice in random order."""
        seed = derive(self.seed, "trues", index)
        mean = self.thinned_bq * self.pair_efficiency * self.seconds
        trues = _buffer(mean)
        n_trues = self._emit_trues(trues, mean, seed)

        seed = derive(self.seed, "scatter", index)
        seen_per_bq = self.cos_max * self.pair_efficiency * self.seconds
        mean = noise.scatter_bq * seen_per_bq
        centre = np.array(noise.scatter_centre_mm)
        sigma = np.array(noise.scatter_sigma_mm)
        scatter = _buffer(mean)
        n_scatter = self._emit_scatter(scatter, mean, centre, sigma, seed)

        seed = derive(self.seed, "randoms", index)
        rng = np.random.default_rng(seed)
        mean = noise.randoms_per_s * _n_cells(self.scan.scanner) * self.seconds
        randoms = np.empty(rng.poisson(mean), EVENT)
        state = state_of(derive(self.seed, "random lors", index))
        emit_randoms(randoms, tuple(self.acceptance), state)

        parts = [trues[:n_trues], scatter[:n_scatter], randoms]
        return rng.permutation(np.concatenate(parts))

    def _emit_trues(self, events: np.ndarray, mean: float, seed: int) -> int:
        """Fill `events` from the phantom; returns how many."""
        n_events = emit_voxels(
            events,
            mean,
            tuple(self.source),
            tuple(self.thinned.blocks),
            tuple(self.thinned.directions),
            tuple(self.thinned.body),
            tuple(self.geometry),
            tuple(self.acceptance),
            state_of(seed),
        )
        return int(n_events)

    def _emit_scatter(
        self, events: np.ndarray, mean: float, centre: np.ndarray, sigma: np.ndarray, seed: int
    ) -> int:
        """Fill `events` from a Gaussian source; returns how many."""
        n_events = emit_gaussian(
            events,
            mean,
            centre,
            sigma,
            self.cos_max,
            tuple(self.geometry),
            tuple(self.acceptance),
            state_of(seed),
        )
        return int(n_events)


def _moments(scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    """Centre and standard deviations (mm) of the attenuating body, along x, y, z; 1.15 x wider, as
    scatter is.
    """
    centre = np.empty(3)
    sigma = np.empty(3)

    for axis, at in enumerate(grid_axes_mm(scan.mu_per_mm.shape, scan.mu_voxel_mm)):
        others = tuple(a for a in range(3) if a != axis)
        mass = scan.mu_per_mm.sum(axis=others, dtype=np.float64)
        total = mass.sum()

        centre[axis] = (mass * at).sum() / total
        squares = (at - centre[axis]) ** 2
        variance = (mass * squares).sum() / total
        sigma[axis] = 1.15 * math.sqrt(variance)

    return centre, sigma


def _buffer(mean: float) -> np.ndarray:
    """Room for 8 standard deviations more than the expected number of events."""
    size = mean + 8 * math.sqrt(mean) + 64
    return np.empty(int(size), EVENT)
