"""Simulated list mode holds the counts that the forward model expects, where it expects them, and
repeats exactly.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from small_scanner import SMALL, all_lors, axes_mm, cylinder, events_mm, positions_mm, scan_of
from tgdpet.config.sections import Grid, Simulation
from tgdpet.constants import FDG_HALF_LIFE_S
from tgdpet.listmode.background import Background
from tgdpet.recon import additive_term, sensitivity
from tgdpet.recon.projector_cpu import Projector
from tgdpet.scanner.cylinder import Scanner
from tgdpet.simulation import monte_carlo
from tgdpet.simulation.monte_carlo import Scan

GRID = Grid([24, 24, 10], [6.0, 6.0, 6.0])
SHARP = Simulation(
    scan_s=10.0, psf_fwhm_mm=0.5, psf_radial_slope=0.0, scatter_fraction=0.0, randoms_fraction=0.0
)
NOTHING = Background(0.0, [0.0] * 3, [30.0] * 3, 0.0)
WATER = (0.096 * cylinder(GRID, 60.0)).astype(np.float32)
AIR = np.zeros(GRID.shape, np.float32)


def point(
    index: tuple[int, int, int], bq: float, mu: np.ndarray = AIR, scanner: Scanner = SMALL
) -> Scan:
    concentration = np.zeros(GRID.shape)
    concentration[index] = bq / (np.prod(GRID.voxel_mm) * 1e-3)
    return scan_of(concentration, mu, GRID, scanner, SHARP)


def run(scan: Scan, noise: Background = NOTHING, seed: int = 1, threads: int = 1) -> np.ndarray:
    return np.concatenate(list(monte_carlo.simulate(scan, noise, seed, threads, slices=8)))


def within_poisson(count: int, mean: float, systematic: float = 0.0) -> bool:
    return abs(count - mean) < 4 * math.sqrt(mean) + systematic * mean


def body_scan(settings: Simulation = SHARP, bqml: float = 800.0) -> Scan:
    return scan_of(bqml * cylinder(GRID, 60.0), WATER, GRID, SMALL, settings)


def test_all_event_ids_exist_and_their_lors_are_accepted():
    noise = Background(20_000.0, [0.0] * 3, [60.0] * 3, 0.02)
    events = run(body_scan(), noise)
    n = SMALL.crystals_per_ring
    gap = np.abs(events["det0"].astype(int) % n - events["det1"].astype(int) % n)
    assert len(events) > 50_000
    assert max(events["det0"].max(), events["det1"].max()) < SMALL.n_detectors
    assert np.abs(events["tof"]).max() <= SMALL.tof_half_bins
    assert np.minimum(gap, n - gap).min() == SMALL.min_crystal_difference
    assert (
        np.abs(events["det0"].astype(int) // n - events["det1"].astype(int) // n).max()
        == SMALL.max_ring_difference
    )
    assert set(events["det0"] // n) == set(range(SMALL.rings))


@pytest.mark.parametrize("index", [(18, 12, 5), (12, 5, 4), (7, 17, 5)])
def test_tof_points_to_where_the_source_is(index):
    events = run(point(index, 4e5))
    source = np.array([float(a.ravel()[i]) for a, i in zip(axes_mm(GRID), index, strict=True)])
    assert len(events) > 5000
    along = positions_mm(SMALL, events["det1"]) - positions_mm(SMALL, events["det0"])
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    off = ((events_mm(SMALL, events) - source) * along).sum(axis=1)  # TOF error of each event, mm
    spread = math.sqrt(SMALL.tof_sigma_mm**2 + SMALL.tof_bin_mm**2 / 12)
    assert abs(off.mean()) < 4 * spread / math.sqrt(len(events)) + 0.5
    assert off.std() == pytest.approx(spread, rel=0.05)
    # in the plane a rectangle of voxels seen from all sides has its mean at the source
    assert np.abs(events_mm(SMALL, events).mean(axis=0)[:2] - source[:2]).max() < 4


def test_the_projector_sees_the_point_where_the_events_put_it():
    index = (18, 9, 5)
    events = run(point(index, 2e5))
    image = np.zeros(GRID.shape)
    image[16:21, 7:12, 3:8] = 1  # crystals are wider than a voxel
    projector = Projector(SMALL, GRID)
    here = projector.forward(image, events["det0"], events["det1"], events["tof"]).mean()
    opposite = projector.forward(image, events["det0"], events["det1"], -events["tof"]).mean()
    assert here > 2 * opposite


@pytest.mark.parametrize("bq", [1e5, 4e5])
def test_counts_of_a_central_point_follow_from_the_solid_angle(bq):
    scanner = Scanner(120.0, 46, 6, 8.0, 5, 280.0, 140.0, 0.5, 80.0)
    scan = scan_of(np.zeros(GRID.shape), AIR, GRID, scanner, SHARP)
    scan.activity_bq[11:13, 11:13, 4:6] = bq / 8  # the eight voxels around the centre
    half = scanner.axial_mm / 2 - np.linspace(
        0, 6, 601
    )  # the nearer end, over the two voxels along z
    both_hit = (half / np.hypot(half, scanner.radius_mm)).mean()
    mean = bq * scan.effective_s * scanner.efficiency**2 * both_hit
    assert within_poisson(len(run(scan)), mean, 0.01)


@pytest.mark.parametrize("mu", [AIR, WATER], ids=["air", "water"])
@pytest.mark.parametrize("where", ["cylinder", "point"])
def test_counts_are_the_forward_models_expectation(mu, where):
    scanner = Scanner(120.0, 120, 6, 8.0, 4, 280.0, 140.0, 0.5, 80.0)
    concentration = 800.0 * cylinder(GRID, 50.0)
    if where == "point":
        concentration[:] = 0
        concentration[16:19, 8:11, 4:7] = 5e4
    scan = scan_of(concentration, mu, GRID, scanner, SHARP)
    det0, det1 = all_lors(scanner)
    projector = Projector(scanner, GRID)
    line = projector.forward(concentration * 1e-3, det0, det1)  # decays / (s mm3) x mm
    survive = np.exp(-projector.forward(mu / 10, det0, det1))
    mean = scan.effective_s * float((scanner.lor_weights(det0, det1) * line * survive).sum())
    count = len(run(scan))
    assert count > 5000 and within_poisson(count, mean, 0.02)
    image = sensitivity.sensitivity(projector, mu)
    assert within_poisson(count, scan.effective_s * float((image * concentration).sum()), 0.03)


def test_water_stops_most_pairs_that_cross_it():
    ratio = len(run(point((12, 12, 5), 4e5, WATER))) / len(run(point((12, 12, 5), 4e5)))
    assert ratio == pytest.approx(
        math.exp(-0.0096 * 120 * 1.01), rel=0.04
    )  # 1.01: LORs are slightly oblique


def test_scatter_counts_and_places_follow_the_closed_form():
    noise = Background(60_000.0, [15.0, -10.0, 0.0], [40.0, 30.0, 25.0], 0.0)
    scanner = Scanner(120.0, 120, 6, 8.0, 4, 280.0, 140.0, 0.5, 80.0)
    scan = scan_of(1e-9 * cylinder(GRID, 60.0), WATER, GRID, scanner, SHARP)
    events = run(scan, noise)
    det0, det1 = all_lors(scanner)
    source = additive_term.scatter_source(noise)
    at = scanner.detector_mm().astype(np.float64)
    bins_mm = additive_term.tof_bins(scanner)
    weight = scanner.lor_weights(det0, det1) * scan.effective_s
    bins = range(-scanner.tof_half_bins, scanner.tof_half_bins + 1)
    expected = np.array([
        weight * additive_term.scatter_density(
            at, det0, det1, np.full(len(det0), t, np.int32), source, bins_mm
        ) for t in bins
    ])  # fmt: skip
    assert within_poisson(len(events), expected.sum(), 0.02)
    # told from their lower crystal, so that TOF has one direction, events spread over the bins as
    # expected
    n = scanner.crystals_per_ring
    tof = np.where(events["det0"] % n < events["det1"] % n, 1, -1) * events["tof"]
    counts = np.bincount(tof + scanner.tof_half_bins, minlength=len(bins))
    mean = expected.sum(axis=1)
    assert np.all(np.abs(counts - mean) < 5 * np.sqrt(mean) + 0.03 * mean)
    gap = np.bincount(_gap(events["det0"], events["det1"], n), minlength=n // 2 + 1)
    mean = np.bincount(_gap(det0, det1, n), expected.sum(axis=0), minlength=n // 2 + 1)
    # the first gaps are cut by the field of view within a crystal
    first = scanner.min_crystal_difference + 1
    assert np.all(np.abs(gap - mean)[first:] < 5 * np.sqrt(mean[first:]) + 0.04 * mean[first:])


def _gap(det0: np.ndarray, det1: np.ndarray, n: int) -> np.ndarray:
    gap = np.abs(det0.astype(int) % n - det1.astype(int) % n)
    return np.minimum(gap, n - gap)


def test_randoms_are_uniform_over_lors_and_tof_bins():
    rate = 0.02
    events = run(body_scan(bqml=1e-9), Background(0.0, [0.0] * 3, [30.0] * 3, rate))
    n_bins = 2 * SMALL.tof_half_bins + 1
    mean = rate * SMALL.n_lors * n_bins * body_scan().effective_s
    assert within_poisson(len(events), mean)
    n = SMALL.crystals_per_ring
    for values, size in [
        (events["tof"] + SMALL.tof_half_bins, n_bins),
        (events["det0"] % n, n),
        (events["det0"] // n * SMALL.rings + events["det1"] // n, SMALL.n_ring_pairs),
        (
            (events["det1"].astype(int) % n - events["det0"] % n) % n,
            n - 2 * SMALL.min_crystal_difference + 1,
        ),
    ]:
        counts = np.bincount(values)
        counts = counts[counts > 0]
        assert len(counts) == size
        assert np.abs(counts - counts.mean()).max() < 5 * math.sqrt(counts.mean())


def test_the_background_has_the_configured_fractions():
    scan = body_scan(
        Simulation(scan_s=10.0, psf_fwhm_mm=4.0, scatter_fraction=0.3, randoms_fraction=0.2)
    )
    noise = monte_carlo.background(scan, 1)
    trues, all_of_them = len(run(scan)), len(run(scan, noise))
    unscattered = len(run(scan, Background(0.0, [0.0] * 3, [30.0] * 3, noise.randoms_per_s)))
    randoms = unscattered - trues
    assert randoms / all_of_them == pytest.approx(0.2, abs=0.01)
    assert 1 - trues / (all_of_them - randoms) == pytest.approx(0.3, abs=0.015)
    assert np.abs(noise.scatter_centre_mm).max() < 1
    assert noise.scatter_sigma_mm[0] == pytest.approx(1.15 * 60 / 2, rel=0.03)


def test_the_same_events_for_any_number_of_threads():
    scan, noise = body_scan(), Background(20_000.0, [0.0] * 3, [60.0] * 3, 0.002)
    one = run(scan, noise)
    assert all(np.array_equal(one, run(scan, noise, threads=threads)) for threads in (2, 3))
    assert not np.array_equal(one[:100], run(scan, noise, seed=2)[:100])


def test_time_slices_differ():
    first, second, *_ = monte_carlo.simulate(body_scan(), NOTHING, 1, slices=8)
    assert not np.array_equal(np.sort(first), np.sort(second)), (
        "the same emissions in another order"
    )


def test_effective_time_is_the_integral_of_the_decay():
    for scan_s in (1.0, 600.0, FDG_HALF_LIFE_S):
        t = np.linspace(0, scan_s, 100_001)
        integral = np.trapezoid(0.5 ** (t / FDG_HALF_LIFE_S), t)
        assert monte_carlo.effective_time_s(scan_s) == pytest.approx(integral, rel=1e-8)


def test_counts_follow_the_decay():
    long = Simulation(**{**SHARP.__dict__, "scan_s": 2 * FDG_HALF_LIFE_S})
    concentration = 1.6 * cylinder(GRID, 60.0)
    n = len(run(scan_of(concentration, WATER, GRID, SMALL, long)))
    short = Simulation(**{**SHARP.__dict__, "scan_s": FDG_HALF_LIFE_S})
    m = len(run(scan_of(concentration, WATER, GRID, SMALL, short)))
    assert n / m == pytest.approx(
        1.5, abs=4 * 2.4 / math.sqrt(m)
    )  # half as many in the second half-life


def test_suv_one_is_dose_per_weight_decayed_to_the_scan():
    settings = Simulation(dose_mbq_per_kg=4.0, uptake_min=FDG_HALF_LIFE_S / 60)
    assert monte_carlo.bqml_per_suv(settings) == pytest.approx(
        2000.0
    )  # 4 MBq/kg = 4000 Bq/mL, one half-life


def test_a_phantom_without_activity_is_refused():
    with pytest.raises(ValueError, match="no activity"):
        run(body_scan(bqml=0.0))
