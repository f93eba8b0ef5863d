"""Monte Carlo list mode of a phantom on a cylindrical TOF scanner.

Trues: emissions drawn from the painted activity, blurred by a Gaussian point spread function that
grows with radius (positron range, non-collinearity, crystal penetration), sent in isotropic
directions, each pair surviving the attenuation along its line, hit crystals recorded, TOF blurred
by a Gaussian.
Scatter: the same without attenuation from one broad Gaussian source fitted to the body, so that its
density on every LOR and TOF bin has a closed form (`corrections.scatter_density`). Randoms: uniform
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
from .monte_carlo_kernels import emit_gaussian, emit_randoms, emit_voxels
from .phantom import Phantom

PILOT = 400_000  # emissions that measure what share of trues and of scatter is detected


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
    activity = fine.suv * np.float32(bqml_per_suv(settings) * math.prod(voxel_mm) * 1e-3)
    factor = fine.suv.shape[0] // coarse.suv.shape[0]
    return Scan(
        activity,
        _triple(voxel_mm),
        coarse.mu_per_cm / 10,
        _triple(v * factor for v in voxel_mm),
        scanner,
        settings,
    )


def bqml_per_suv(settings: Simulation) -> float:
    """Activity concentration of SUV 1 at scan start, Bq/mL."""
    return (
        settings.dose_mbq_per_kg * 1e3 * float(0.5 ** (settings.uptake_min * 60 / FDG_HALF_LIFE_S))
    )


def _triple(values: Iterable[float]) -> tuple[float, float, float]:
    x, y, z = values
    return x, y, z


def background(scan: Scan, seed: int) -> Background:
    """Scatter and randoms that give the configured fractions, from a pilot of `PILOT` emissions."""
    pilot = _Source(scan, scan.effective_s, seed)
    total = float(scan.activity_bq.sum(dtype=np.float64)) * scan.effective_s
    trues = pilot.trues(PILOT, derive(seed, "pilot")) / PILOT * total
    centre, sigma = _moments(scan)
    seen = pilot.scatter(PILOT, centre, sigma, derive(seed, "pilot scatter")) / PILOT
    scattered = trues * scan.settings.scatter_fraction / (1 - scan.settings.scatter_fraction)
    randoms = (
        (trues + scattered) * scan.settings.randoms_fraction / (1 - scan.settings.randoms_fraction)
    )
    cells = scan.scanner.n_lors * (2 * scan.scanner.tof_half_bins + 1)
    return Background(
        scatter_bq=scattered / max(seen, 1e-12) / scan.effective_s,
        scatter_centre_mm=[float(v) for v in centre],
        scatter_sigma_mm=[float(v) for v in sigma],
        randoms_per_s=randoms / cells / scan.effective_s,
    )


def simulate(
    scan: Scan, noise: Background, seed: int, threads: int = 1, slices: int = 64
) -> Iterator[np.ndarray]:
    """Yield the events of consecutive time slices, (n,) of `EVENT`; the same for any number of
    threads.
    """
    source = _Source(scan, scan.effective_s / slices, seed)
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, slices, threads):
            yield from pool.map(
                lambda i: source.slice(i, noise), range(first, min(first + threads, slices))
            )


class _Source:
    """Prepared arrays for the kernels, for emissions during `seconds` of effective time."""

    def __init__(self, scan: Scan, seconds: float, seed: int) -> None:
        self.scan, self.seconds, self.seed = scan, seconds, seed
        flat = scan.activity_bq.ravel()
        self.voxels = np.flatnonzero(flat).astype(np.int64)
        if self.voxels.size == 0:
            raise ValueError("simulation: the phantom holds no activity inside the grid")
        sc, s = scan.scanner, scan.settings
        # directions steeper than the voxel's cos_max cannot hit detectors at both ends and are
        # never drawn
        self.steep = _steepest(scan).ravel()[self.voxels]
        self.cdf = np.cumsum(flat[self.voxels] * self.steep, dtype=np.float64)
        self.total_bq, self.thinned_bq = float(flat.sum(dtype=np.float64)), float(self.cdf[-1])
        self.cdf /= self.thinned_bq
        self.geometry = np.array([
            sc.radius_mm, sc.axial_mm / 2, sc.ring_pitch_mm, sc.fov_radius_mm,
            sc.tof_sigma_mm, sc.tof_bin_mm, s.psf_fwhm_mm / FWHM_PER_SIGMA, s.psf_radial_slope / 300.0,
        ])  # fmt: skip
        self.counts = np.array([
            sc.crystals_per_ring, sc.rings, sc.max_ring_difference, sc.tof_half_bins, sc.min_crystal_difference,
        ], np.int64)  # fmt: skip
        self.voxel_mm = np.asarray(scan.voxel_mm, np.float64)
        self.shape = np.array(scan.activity_bq.shape, np.int64)
        self.mu = np.ascontiguousarray(scan.mu_per_mm, np.float32)
        self.mu_voxel_mm = np.asarray(scan.mu_voxel_mm, np.float64)
        self.cos_max = sc.axial_mm / math.hypot(
            sc.axial_mm, 2 * math.sqrt(sc.radius_mm**2 - sc.fov_radius_mm**2)
        )

    def trues(self, emissions: float, seed: int) -> float:
        """Detected trues (efficiency included) that a pilot of so many emissions stands for."""
        kept = self._trues(emissions, seed, self._buffer(emissions))
        return kept * self.thinned_bq / self.total_bq * self.scan.scanner.efficiency**2

    def scatter(self, emissions: float, centre: np.ndarray, sigma: np.ndarray, seed: int) -> float:
        """As `trues`, for the scatter source."""
        kept = emit_gaussian(
            self._buffer(emissions),
            emissions,
            centre,
            sigma,
            self.cos_max,
            self.geometry,
            self.counts,
            _state(seed),
        )
        return kept * self.cos_max * self.scan.scanner.efficiency**2

    def slice(self, index: int, noise: Background) -> np.ndarray:
        """All events of one time slice in random order."""
        thin = self.cos_max * self.scan.scanner.efficiency**2 * self.seconds
        parts = []
        mean = self.thinned_bq * self.scan.scanner.efficiency**2 * self.seconds
        out = self._buffer(mean)
        parts.append(out[: self._trues(mean, derive(self.seed, "trues", index), out)])
        mean = noise.scatter_bq * thin
        out = self._buffer(mean)
        n = emit_gaussian(
            out, mean, np.array(noise.scatter_centre_mm), np.array(noise.scatter_sigma_mm), self.cos_max,
            self.geometry, self.counts, _state(derive(self.seed, "scatter", index)),
        )  # fmt: skip
        parts.append(out[:n])
        cells = self.scan.scanner.n_lors * (2 * self.scan.scanner.tof_half_bins + 1)
        rng = np.random.default_rng(derive(self.seed, "randoms", index))
        out = np.empty(rng.poisson(noise.randoms_per_s * cells * self.seconds), EVENT)
        emit_randoms(out, self.counts, _state(derive(self.seed, "random lors", index)))
        parts.append(out)
        return rng.permutation(np.concatenate(parts))

    def _trues(self, mean: float, seed: int, out: np.ndarray) -> int:
        return int(emit_voxels(
            out, mean, self.cdf, self.voxels, self.steep, self.shape, self.voxel_mm, self.mu, self.mu_voxel_mm,
            self.geometry, self.counts, _state(seed),
        ))  # fmt: skip

    @staticmethod
    def _buffer(mean: float) -> np.ndarray:
        return np.empty(int(mean + 8 * math.sqrt(mean) + 64), EVENT)


def _steepest(scan: Scan) -> np.ndarray:
    """Largest |cos| to the axis with which an emission in each voxel can reach detectors at both
    ends, (X, Y, Z).

    Across, an end is at least R - r away; the nearer axial end is H - |z| away. The blur adds a
    margin of 4.5 sigma.
    """
    x, y, z = (
        np.abs((np.arange(n) - (n - 1) / 2) * v).astype(np.float32)
        for n, v in zip(scan.activity_bq.shape, scan.voxel_mm, strict=True)
    )
    r = np.sqrt(x[:, None] ** 2 + y[None, :] ** 2)
    widest = scan.settings.psf_fwhm_mm * (1 + scan.settings.psf_radial_slope * float(r.max()) / 300)
    margin = 4.5 * widest / FWHM_PER_SIGMA + max(scan.voxel_mm)
    across = np.maximum(scan.scanner.radius_mm - r - margin, 1.0)[:, :, None]
    along = np.maximum(scan.scanner.axial_mm / 2 - z + margin, 0.0)[None, None, :]
    return np.asarray(along / np.hypot(along, across))


def _moments(scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    """Centre and standard deviations (mm) of the attenuating body, along x, y, z; 1.15 x wider, as
    scatter is.
    """
    centre, sigma = np.empty(3), np.empty(3)
    for axis in range(3):
        other = tuple(a for a in range(3) if a != axis)
        mass = scan.mu_per_mm.sum(axis=other, dtype=np.float64)
        at = (np.arange(mass.size) - (mass.size - 1) / 2) * scan.mu_voxel_mm[axis]
        centre[axis] = (mass * at).sum() / mass.sum()
        sigma[axis] = 1.15 * math.sqrt((mass * (at - centre[axis]) ** 2).sum() / mass.sum())
    return centre, sigma


def _state(seed: int) -> np.ndarray:
    return np.array([seed], np.uint64)
