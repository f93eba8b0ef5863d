"""A lesion put into list mode is the one that a full simulation would have put there, and nothing
else changes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from small_scanner import SMALL, all_lors, cylinder, events_mm, painted, positions_mm, scan_of
from tgdpet.config.sections import Grid, Simulation
from tgdpet.constants import FWHM_PER_SIGMA
from tgdpet.listmode.background import Background
from tgdpet.listmode.events import EVENT
from tgdpet.recon.projector_cpu import Projector
from tgdpet.scanner.cylinder import Scanner
from tgdpet.simulation import lesion
from tgdpet.simulation import monte_carlo as simulate
from tgdpet.simulation.lesion import Sphere
from tgdpet.simulation.lors import lors_near

NOTHING = Background(0.0, [0.0] * 3, [30.0] * 3, 0.0)
FINE = Scanner(120.0, 120, 12, 4.0, 9, 280.0, 140.0, 0.5, 80.0)
FINE_GRID = Grid([48, 48, 16], [3.0, 3.0, 3.0])
WATER = (0.096 * cylinder(FINE_GRID, 60.0)).astype(np.float32)
CENTRE = (18.0, -12.0, 4.0)
BQML, PSF_MM = 5e4, 6.0


def sphere(**changed: Any) -> Sphere:
    return Sphere(
        **{"centre_mm": CENTRE, "diameter_mm": 20.0, "bqml": BQML, "psf_fwhm_mm": PSF_MM, **changed}
    )


@pytest.fixture(scope="module")
def monte_carlo() -> np.ndarray:
    ball = painted(FINE_GRID, CENTRE, (10.0,) * 3, 8)
    ball *= 4 / 3 * math.pi * 10**3 / (ball.sum() * 27)
    settings = Simulation(scan_s=100.0, psf_fwhm_mm=PSF_MM, psf_radial_slope=0.0)
    scan = scan_of(BQML * ball, WATER, FINE_GRID, FINE, settings)
    return np.concatenate(list(simulate.simulate(scan, NOTHING, 1, slices=8)))


def as_simulated() -> Sphere:
    """The simulation's own blur: also crystals hit anywhere on their face, emissions anywhere in a
    voxel.
    """
    width = 2 * math.pi * 120 / 120
    variance = (PSF_MM / FWHM_PER_SIGMA) ** 2 + (width**2 + 4.0**2) / 2 / 24 + 3.0**2 / 12
    return sphere(psf_fwhm_mm=FWHM_PER_SIGMA * math.sqrt(variance))


def inserted(what: Sphere, seed: int = 1, scanner: Any = FINE) -> np.ndarray:
    seconds = simulate.effective_time_s(100.0)
    events, mean = lesion.events_of(Projector(scanner, FINE_GRID), WATER, what, seconds, seed)
    assert (
        abs(len(events) - mean) < 4 * math.sqrt(mean) + 0.003 * mean
    )  # a few fall beyond the last TOF bins
    return events


def offsets(events: np.ndarray, scanner: Scanner = FINE) -> tuple[np.ndarray, np.ndarray]:
    """Distances of the LORs from the lesion's centre, and TOF's along the LOR, mm."""
    p, q = positions_mm(scanner, events["det0"]), positions_mm(scanner, events["det1"])
    along = (q - p) / np.linalg.norm(q - p, axis=1, keepdims=True)
    off = events_mm(scanner, events) - np.array(CENTRE)
    t = (off * along).sum(axis=1)
    return np.linalg.norm(off - t[:, None] * along, axis=1), t


def test_counts_places_and_tof_are_those_of_the_full_simulation(monte_carlo):
    events = inserted(as_simulated())
    n, m = len(events), len(monte_carlo)
    assert m > 200_000 and abs(n - m) < 3 * math.sqrt(n + m) + 0.01 * m
    (h, t), (h0, t0) = offsets(events), offsets(monte_carlo)
    assert h.mean() == pytest.approx(h0.mean(), rel=0.02)
    assert np.percentile(h, 95) == pytest.approx(np.percentile(h0, 95), rel=0.02)
    assert abs(t.mean() - t0.mean()) < 0.3 and t.std() == pytest.approx(t0.std(), rel=0.01)
    bins = np.arange(-60, 61, 10)
    a, b = np.histogram(t, bins)[0], np.histogram(t0, bins)[0]
    assert np.all(np.abs(a - b) < 5 * np.sqrt(a + b) + 0.02 * b)
    ring = [np.bincount(e["det0"] // 120, minlength=12) for e in (events, monte_carlo)]
    assert np.all(np.abs(ring[0] - ring[1]) < 5 * np.sqrt(ring[0] + ring[1]) + 0.03 * ring[1].max())


def test_both_orders_of_the_detectors_occur_with_tof_turned(monte_carlo):
    for events in (inserted(as_simulated()), monte_carlo):
        assert np.mean(events["det0"] < events["det1"]) == pytest.approx(0.5, abs=0.01)


def test_events_are_in_random_order():
    events = inserted(sphere())
    half = len(events) // 2
    first, second = (
        np.sort(e["det0"]).astype(float) for e in (events[:half], events[half : 2 * half])
    )
    assert np.abs(first - second).mean() < 0.01 * FINE.n_detectors


def test_the_lors_are_all_that_pass_near():
    centre, reach = np.array([30.0, -22.0, 9.0]), 14.0
    det0, det1 = all_lors(SMALL)
    p, q = positions_mm(SMALL, det0) - centre, positions_mm(SMALL, det1) - centre
    near = np.linalg.norm(np.cross(p, q), axis=1) <= reach * np.linalg.norm(p - q, axis=1)
    expected = {
        frozenset(pair) for pair in zip(det0[near].tolist(), det1[near].tolist(), strict=True)
    }
    found = np.concatenate(list(lors_near(SMALL, tuple(centre), reach)))
    found = found[SMALL.lor_weights(found[:, 0], found[:, 1]) > 0]
    assert {frozenset(pair) for pair in found.tolist()} == expected
    assert len(found) == len(expected) > 500


@pytest.mark.parametrize("psf_mm", [0.01, 4.0, 30.0])
def test_the_blurred_sphere_keeps_its_activity(psf_mm):
    ball = sphere(psf_fwhm_mm=psf_mm)
    r = np.linspace(0, ball.reach_mm, 20001)
    volume = np.trapezoid(4 * math.pi * r**2 * ball.profile(r), r)
    assert volume == pytest.approx(4 / 3 * math.pi * 10**3, rel=0.003)
    assert np.all(np.diff(ball.profile(r)) < 1e-9)
    if psf_mm < 1:
        np.testing.assert_allclose(ball.profile(np.array([0.0, 9.9, 10.1])), [1, 1, 0], atol=1e-6)


@dataclass(frozen=True)
class OtherBins:
    """SMALL with other TOF bins; `half` counts as a table of an even number of bins has it, or
    there is no TOF.
    """

    tof_sigma_mm: float = 18.0
    tof_bin_mm: float = 30.0
    tof_step_mm: float = 15.0
    tof_half_bins: int = 7  # eight bins
    n_detectors: int = FINE.n_detectors

    def detector_mm(self) -> np.ndarray:
        return FINE.detector_mm()

    def lor_weights(self, det0: np.ndarray, det1: np.ndarray) -> np.ndarray:
        return FINE.lor_weights(det0, det1)


def test_an_even_number_of_tof_bins():
    device = OtherBins()
    events = lesion._binned(
        device, np.repeat([[0, 60]], 40_000, axis=0), np.full(40_000, 22.0), _rng()
    )
    tof = np.where(events["det0"] == 0, 1, -1) * events["tof"]
    assert set(np.unique(tof)) <= set(range(-7, 8, 2))
    centre = tof * device.tof_step_mm
    assert centre.mean() == pytest.approx(22.0, abs=0.5)
    assert centre.std() == pytest.approx(math.sqrt(18.0**2 + 30.0**2 / 12), rel=0.02)


def test_events_beyond_the_last_tof_bin_are_lost():
    for device, end_mm in (
        (OtherBins(), 120.0),
        (FINE, (FINE.tof_half_bins + 0.5) * FINE.tof_bin_mm),
    ):
        events = lesion._binned(device, np.zeros((20_000, 2), int), np.full(20_000, end_mm), _rng())
        assert len(events) == pytest.approx(10_000, abs=400)
        assert np.abs(events["tof"]).max() <= device.tof_half_bins


def test_without_tof_every_event_is_in_the_one_bin():
    events = lesion._binned(
        OtherBins(0.0, 100.0, 100.0, 0), np.zeros((100, 2), int), np.full(100, 200.0), _rng()
    )
    assert len(events) == 100 and not events["tof"].any()


def _rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_new_events_fall_evenly_among_the_old_ones_which_keep_their_order():
    old, new = np.zeros(50_000, EVENT), np.ones(5_000, EVENT)
    old["tof"], new["det0"] = np.arange(len(old)), 7
    both = np.concatenate(list(lesion.merged(old, new, 3)))
    is_new = both["det0"] == 7
    np.testing.assert_array_equal(both[~is_new], old)
    assert is_new.sum() == len(new)
    tenth = is_new.reshape(10, -1).sum(axis=1)
    assert np.abs(tenth - 500).max() < 5 * math.sqrt(500)
    np.testing.assert_array_equal(both, np.concatenate(list(lesion.merged(old, new, 3, size=777))))
    assert np.concatenate(list(lesion.merged(old[:0], new, 3))).size == len(new)
    assert np.concatenate(list(lesion.merged(old, new[:0], 3))).size == len(old)


def test_the_assumed_blur_is_that_of_the_detectors():
    assert lesion.default_psf_mm(FINE) == pytest.approx(
        1.25 * math.sqrt(2**2 + (0.0044 * 120) ** 2 + 0.54**2), rel=0.01
    )
