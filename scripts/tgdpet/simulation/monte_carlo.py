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

import numpy as np

from ..config.sections import Simulation
from ..constants import FDG_HALF_LIFE_S, FWHM_PER_SIGMA
from ..listmode.background import Background
from ..listmode.events import EVENT
from ..runtime.seeds import derive
from ..scanner.cylinder import Scanner
from .monte_carlo_kernels import (
    Geometry,
    acceptance_of,
    emit_gaussian,
    emit_randoms,
    emit_voxels,
)
from .phantom import Phantom, grid_axes_mm

PILOT = 400_000.0  # emissions that measure what share of trues and of scatter is detected


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

        activity_bq = scan.activity_bq.ravel()
        self.voxels = np.flatnonzero(activity_bq).astype(np.int64)
        if self.voxels.size == 0:
            raise ValueError("simulation: the phantom holds no activity inside the grid")

        # directions steeper than the voxel's cos_max cannot hit detectors at both ends and are
        # never drawn
        self.steep = _steepest(scan).ravel()[self.voxels]
        thinned = activity_bq[self.voxels] * self.steep
        cumulative_bq = np.cumsum(thinned, dtype=np.float64)
        self.total_bq = float(activity_bq.sum(dtype=np.float64))
        self.thinned_bq = float(cumulative_bq[-1])
        self.cdf = cumulative_bq / self.thinned_bq

        self.shape = np.array(scan.activity_bq.shape, np.int64)
        self.voxel_mm = np.asarray(scan.voxel_mm, np.float64)
        self.mu = np.ascontiguousarray(scan.mu_per_mm, np.float32)
        self.mu_voxel_mm = np.asarray(scan.mu_voxel_mm, np.float64)

        scanner = scan.scanner
        self.geometry = _geometry_of(scanner, scan.settings)
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
        state = _state(derive(self.seed, "random lors", index))
        emit_randoms(randoms, self.acceptance, state)

        parts = [trues[:n_trues], scatter[:n_scatter], randoms]
        return rng.permutation(np.concatenate(parts))

    def _emit_trues(self, events: np.ndarray, mean: float, seed: int) -> int:
        """Fill `events` from the phantom; returns how many."""
        n_events = emit_voxels(
            events,
            mean,
            self.cdf,
            self.voxels,
            self.steep,
            self.shape,
            self.voxel_mm,
            self.mu,
            self.mu_voxel_mm,
            self.geometry,
            self.acceptance,
            _state(seed),
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
            self.geometry,
            self.acceptance,
            _state(seed),
        )
        return int(n_events)


def _geometry_of(scanner: Scanner, settings: Simulation) -> Geometry:
    return Geometry(
        radius_mm=float(scanner.radius_mm),
        half_axial_mm=scanner.axial_mm / 2,
        ring_pitch_mm=float(scanner.ring_pitch_mm),
        tof_sigma_mm=scanner.tof_sigma_mm,
        tof_bin_mm=scanner.tof_bin_mm,
        psf_sigma_mm=settings.psf_fwhm_mm / FWHM_PER_SIGMA,
        psf_growth_per_mm=settings.psf_radial_slope / 300.0,
    )


def _steepest(scan: Scan) -> np.ndarray:
    """Largest |cos| to the axis with which an emission in each voxel can reach detectors at both
    ends, (X, Y, Z).

    Across, an end is at least R - r away; the nearer axial end is H - |z| away. The blur adds a
    margin of 4.5 sigma.
    """
    scanner = scan.scanner
    settings = scan.settings

    axes = grid_axes_mm(scan.activity_bq.shape, scan.voxel_mm)
    x, y, z = (np.abs(axis).astype(np.float32) for axis in axes)
    r = np.sqrt(x[:, None] ** 2 + y**2)

    widening = 1 + settings.psf_radial_slope * float(r.max()) / 300
    widest_mm = settings.psf_fwhm_mm * widening
    margin_mm = 4.5 * widest_mm / FWHM_PER_SIGMA + max(scan.voxel_mm)

    across = np.maximum(scanner.radius_mm - r - margin_mm, 1.0)
    along = np.maximum(scanner.axial_mm / 2 - z + margin_mm, 0.0)
    hypotenuse = np.hypot(along, across[:, :, None])

    return np.asarray(along / hypotenuse)


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


def _state(seed: int) -> np.ndarray:
    """State of the kernels' random numbers."""
    return np.array([seed], np.uint64)
