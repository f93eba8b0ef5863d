"""The Monte Carlo simulation of trues, slow and plain: every emission is drawn, in any direction,
and followed until it is lost or recorded.
"""

from __future__ import annotations

import math

import numpy as np

from tgdpet.constants import FWHM_PER_SIGMA
from tgdpet.listmode.events import EVENT
from tgdpet.simulation.monte_carlo import Scan

STEP_MM = 2.0


def plain_trues(scan: Scan, seed: int) -> np.ndarray:
    """True events of a whole scan, (n,) of `EVENT`, in no particular order."""
    rng = np.random.default_rng(seed)
    seconds = scan.effective_s * scan.scanner.efficiency**2
    decays = rng.poisson(scan.activity_bq * seconds)
    index = np.repeat(np.argwhere(decays > 0), decays[decays > 0], axis=0)

    shape = np.array(scan.activity_bq.shape)
    within = rng.random(index.shape)
    position_mm = (index + within - shape / 2) * scan.voxel_mm
    position_mm += _sigma_mm(scan, position_mm)[:, None] * rng.normal(size=index.shape)

    cosine = rng.uniform(-1, 1, len(index))
    sine = np.sqrt(1 - cosine**2)
    phi = rng.uniform(-math.pi, math.pi, len(index))
    direction = np.stack([sine * np.cos(phi), sine * np.sin(phi), cosine], axis=1)

    return _recorded(scan, position_mm, direction, rng)


def _sigma_mm(scan: Scan, position_mm: np.ndarray) -> np.ndarray:
    """Standard deviation of the blur at each position, mm."""
    settings = scan.settings
    radius_mm = np.hypot(position_mm[:, 0], position_mm[:, 1])
    fwhm_mm = settings.psf_fwhm_mm * (1 + settings.psf_radial_slope * radius_mm / 300)

    return fwhm_mm / FWHM_PER_SIGMA


def _recorded(
    scan: Scan, position_mm: np.ndarray, direction: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The events of pairs from these positions, photon 1 in these directions."""
    scanner = scan.scanner
    near, far = to_cylinder(position_mm, direction, scanner.radius_mm)
    end0 = position_mm + near[:, None] * direction
    end1 = position_mm + far[:, None] * direction

    ring0, crystal0 = _detector(scan, end0)
    ring1, crystal1 = _detector(scan, end1)
    kept = np.abs(ring0 - ring1) <= scanner.max_ring_difference
    for ring in (ring0, ring1):
        kept &= (ring >= 0) & (ring < scanner.rings)

    gap = np.abs(crystal0 - crystal1)
    gap = np.minimum(gap, scanner.crystals_per_ring - gap)
    kept &= gap >= scanner.min_crystal_difference

    # the emission's distance from the LOR's middle, towards detector 1
    along_mm = -(near + far) / 2 + scanner.tof_sigma_mm * rng.normal(size=len(near))
    tof = np.round(along_mm / scanner.tof_bin_mm)
    kept &= np.abs(tof) <= scanner.tof_half_bins

    sums = line_sums(scan, position_mm[kept], direction[kept], rng.random(kept.sum()))
    kept[kept] = rng.random(len(sums)) < np.exp(-sums)

    events = np.empty(int(kept.sum()), EVENT)
    events["det0"] = (ring0 * scanner.crystals_per_ring + crystal0)[kept]
    events["det1"] = (ring1 * scanner.crystals_per_ring + crystal1)[kept]
    events["tof"] = tof[kept]
    return events


def to_cylinder(
    position_mm: np.ndarray, direction: np.ndarray, radius_mm: float
) -> tuple[np.ndarray, np.ndarray]:
    """Distances (n,) at which lines meet the scanner's cylinder, against and along a direction."""
    across2 = (direction[:, :2] ** 2).sum(axis=1)
    b = (position_mm[:, :2] * direction[:, :2]).sum(axis=1) / across2
    c = ((position_mm[:, :2] ** 2).sum(axis=1) - radius_mm**2) / across2
    root = np.sqrt(b**2 - c)

    return -b - root, -b + root


def _detector(scan: Scan, end_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ring (outside: below 0 or too large) and crystal of points on the cylinder."""
    scanner = scan.scanner
    ring = np.floor((end_mm[:, 2] + scanner.axial_mm / 2) / scanner.ring_pitch_mm)
    turn = np.arctan2(end_mm[:, 1], end_mm[:, 0]) / (2 * math.pi) % 1
    crystal = np.floor(turn * scanner.crystals_per_ring)

    return ring.astype(int), crystal.astype(int) % scanner.crystals_per_ring


def line_sums(
    scan: Scan,
    position_mm: np.ndarray,
    direction: np.ndarray,
    offset: np.ndarray,
    step_mm: float | np.ndarray = STEP_MM,
) -> np.ndarray:
    """Attenuation along whole lines (n,), from samples `step_mm` apart, of which one lies `offset`
    steps from the position.
    """
    shape = np.array(scan.mu_per_mm.shape)
    extent_mm = shape * scan.mu_voxel_mm
    reach = math.ceil(2 * np.linalg.norm(extent_mm) / np.min(step_mm))
    padded = np.pad(scan.mu_per_mm, 1)
    sums = np.zeros(len(position_mm))

    for step in range(-reach, reach):
        away_mm = (step + offset) * step_mm
        point_mm = position_mm + away_mm[:, None] * direction
        index = np.floor(point_mm / scan.mu_voxel_mm + shape / 2).astype(int) + 1
        x, y, z = np.clip(index, 0, shape + 1).T
        sums += padded[x, y, z] * step_mm

    return sums
