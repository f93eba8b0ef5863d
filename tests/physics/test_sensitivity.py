"""LORs, geometric weights, sensitivity and the additive term against counting and integrating one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import erf
from small import SMALL, all_lors, axes_mm, cylinder, positions_mm

from tgdpet import corrections
from tgdpet.config import Grid
from tgdpet.listmode import EVENT
from tgdpet.projector import Projector
from tgdpet.scanner import Scanner
from tgdpet.simulate import Background

GRID = Grid([20, 20, 8], [7.0, 7.0, 6.0])
FINE = Scanner(120.0, 120, 6, 8.0, 4, 280.0, 140.0, 0.5, 80.0)
NOISE = Background(3000.0, [12.0, -8.0, 4.0], [50.0, 40.0, 30.0], 2e-4)


def weights_by_hand(scanner: Scanner, det0: np.ndarray, det1: np.ndarray) -> np.ndarray:
    """efficiency^2 A^2 cos cos / (2 pi D^2): each photon's chance from solid angles, normals towards the axis."""
    p, q = positions_mm(scanner, det0), positions_mm(scanner, det1)
    d = np.linalg.norm(q - p, axis=1)
    u = (q - p) / d[:, None]
    cosine0, cosine1 = ((u[:, :2] * a[:, :2]).sum(axis=1) / scanner.radius_mm for a in (-p, q))
    area = 2 * np.pi * scanner.radius_mm / scanner.crystals_per_ring * scanner.ring_pitch_mm
    return scanner.efficiency**2 * area**2 * cosine0 * cosine1 / (2 * np.pi * d**2)


@pytest.mark.parametrize("crystals", [46, 47])
@pytest.mark.parametrize("max_difference", [5, 2, 0])
def test_n_lors_is_what_one_counts(crystals, max_difference):
    scanner = Scanner(120.0, crystals, 6, 8.0, max_difference, 280.0, 140.0, 0.5, 80.0)
    det0, det1 = all_lors(scanner)
    assert scanner.n_lors == len(det0)
    assert scanner.n_ring_pairs * crystals * (crystals - 2 * scanner.min_crystal_difference + 1) == 2 * len(det0)


def test_sampled_lors_are_accepted_and_cover_all_evenly():
    n = SMALL.crystals_per_ring
    every0, every1 = all_lors(SMALL)
    n_each = 40
    det0, det1 = corrections.sample_lors(SMALL, 0, n_each * SMALL.n_lors)

    def key(a: np.ndarray, b: np.ndarray) -> np.ndarray:  # the same for an LOR told from either end
        swap = a % n > b % n
        return np.where(swap, b, a) * SMALL.n_detectors + np.where(swap, a, b)

    expected, got = np.sort(key(every0, every1)), key(det0, det1)
    assert np.isin(got, expected).all(), "an LOR outside the field of view or ring difference"
    times = np.bincount(np.searchsorted(expected, got), minlength=len(expected))
    assert times.min() > 0.4 * n_each and times.max() < 1.8 * n_each
    for marginal in (det0 % n, det1 % n, det0 // n * SMALL.rings + det1 // n, (det1 % n - det0 % n) % n):
        counts = np.bincount(marginal)
        counts = counts[counts > 0]
        assert counts.std() < 0.02 * counts.mean()


def test_sampled_lors_go_on_where_a_batch_ended():
    whole, part = corrections.sample_lors(SMALL, 0, 100), corrections.sample_lors(SMALL, 60, 40)
    assert all(np.array_equal(a[60:], b) for a, b in zip(whole, part, strict=True))


def test_geometric_weights_follow_from_solid_angles():
    det0, det1 = all_lors(SMALL)
    np.testing.assert_allclose(
        corrections.lor_weights(SMALL, det0, det1), weights_by_hand(SMALL, det0, det1), rtol=1e-5
    )
    assert np.array_equal(corrections.lor_weights(SMALL, det0, det1), corrections.lor_weights(SMALL, det1, det0))


def brute_force(grid: Grid, scanner: Scanner, mu_per_cm: np.ndarray) -> np.ndarray:
    det0, det1 = all_lors(scanner)
    projector = Projector(scanner, grid)
    survive = np.exp(-projector.forward(mu_per_cm.astype(float) / 10, det0, det1))
    return projector.back(survive * weights_by_hand(scanner, det0, det1), det0, det1) * 1e-3


BEYOND = Grid([20, 20, 14], [7.0, 7.0, 6.0])  # its outer slices lie outside the detectors


@pytest.mark.parametrize("grid", [GRID, BEYOND])
@pytest.mark.parametrize("mu_per_cm", [0.0, 0.12])
def test_sensitivity_is_the_sum_over_all_lors(grid, mu_per_cm, monkeypatch):
    mu = (mu_per_cm * cylinder(grid, 55.0)).astype(np.float32)
    exact, projector = brute_force(grid, FINE, mu), Projector(FINE, grid)
    smooth = corrections.sensitivity(projector, mu, 300_000)
    monkeypatch.setattr(corrections, "_smooth", lambda estimate, voxel_mm: estimate)
    rough = corrections.sensitivity(projector, mu, 300_000)
    assert rough.dtype == np.float32
    x, y, _ = axes_mm(grid)
    inside = np.broadcast_to(x**2 + y**2 < 60**2, exact.shape) & (exact > 0.1 * exact.max())
    np.testing.assert_allclose(rough[inside], exact[inside], rtol=0.04)
    assert rough[inside].sum() == pytest.approx(exact[inside].sum(), rel=2e-3)
    # smoothing keeps every slice's level, also in the outermost ones; near steep edges it costs some per cent
    total, expected = ((a * inside).sum(axis=(0, 1))[inside.any(axis=(0, 1))] for a in (smooth, exact))
    assert np.abs(total / expected - 1).max() < 0.06
    assert np.sqrt(np.mean((smooth[inside] / exact[inside] - 1) ** 2)) < 0.05


def test_central_sensitivity_is_the_solid_angle_of_the_detectors():
    scanner = Scanner(390.0, 240, 26, 4.0, 25, 280.0, 140.0, 0.5, 290.0)
    grid = Grid([11, 11, 27], [8.0, 8.0, 4.0])
    at = corrections.sensitivity(Projector(scanner, grid), np.zeros(grid.shape, np.float32), 400_000)[5, 5, 13]
    z = np.linspace(-4, 4, 801)
    half = scanner.axial_mm / 2 - np.abs(z)
    both_hit = np.average(half / np.hypot(half, scanner.radius_mm), weights=4 - np.abs(z))
    assert at == pytest.approx(scanner.efficiency**2 * both_hit * 0.256, rel=0.03)  # 0.256 mL a voxel


def test_sensitivity_tells_its_progress():
    seen: list[int] = []
    corrections.sensitivity(Projector(SMALL, GRID), np.zeros(GRID.shape, np.float32), 5000, seen.append)
    assert sum(seen) == 5000


def some_events(n: int) -> np.ndarray:
    det0, det1 = corrections.sample_lors(SMALL, 0, n)
    events = np.empty(n, EVENT)
    events["det0"], events["det1"] = det0, det1
    events["tof"] = np.random.default_rng(0).integers(-4, 5, n)
    return events


def scatter_by_hand(scanner: Scanner, noise: Background, event: np.void) -> float:
    """Line integral of the Gaussian source, weighted with the chance that TOF puts an emission in the bin."""
    p, q = (positions_mm(scanner, np.array([event[k]]))[0] for k in ("det0", "det1"))
    u = (q - p) / np.linalg.norm(q - p)
    along = np.linspace(-400, 400, 8001)
    points = (p + q) / 2 + along[:, None] * u - np.array(noise.scatter_centre_mm)
    sigma = np.array(noise.scatter_sigma_mm)
    density = np.exp(-0.5 * ((points / sigma) ** 2).sum(axis=1)) / ((2 * np.pi) ** 1.5 * sigma.prod())
    half, scale = scanner.tof_bin_mm / 2, math.sqrt(2) * scanner.tof_sigma_mm
    distance = along - event["tof"] * scanner.tof_bin_mm
    chance = 0.5 * (erf((distance + half) / scale) - erf((distance - half) / scale))
    return float(noise.scatter_bq * (density * chance).sum() * (along[1] - along[0]))


def test_scatter_density_is_the_line_integral_within_the_tof_bin():
    events = some_events(30)
    source = np.array([NOISE.scatter_bq, *NOISE.scatter_centre_mm, *NOISE.scatter_sigma_mm])
    at = SMALL.detector_mm().astype(np.float64)
    ours = corrections.scatter_density(
        at, events["det0"], events["det1"], events["tof"], source, SMALL.tof_sigma_mm, SMALL.tof_bin_mm
    )
    by_hand = [scatter_by_hand(SMALL, NOISE, e) for e in events]
    np.testing.assert_allclose(ours, by_hand, rtol=1e-3, atol=1e-6 * max(by_hand))


@pytest.mark.parametrize("threads", [1, 2])
def test_additive_is_background_over_attenuation_and_weight(threads):
    events = some_events(40)
    mu = (0.096 * cylinder(GRID, 55.0)).astype(np.float32)
    projector = Projector(SMALL, GRID)
    ours = corrections.additive(projector, events, mu, NOISE, threads)
    survive = np.exp(-projector.forward(mu / 10, events["det0"], events["det1"]))
    randoms = NOISE.randoms_per_s / weights_by_hand(SMALL, events["det0"], events["det1"])
    scatter = np.array([scatter_by_hand(SMALL, NOISE, e) for e in events])
    np.testing.assert_allclose(ours, 1e3 * (randoms + scatter) / survive, rtol=2e-3)  # 1e3: per mm3 to per mL
