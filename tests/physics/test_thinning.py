"""Emissions drawn thinned by bounds of their survival have the distribution of all emissions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from plain_emissions import line_sums, plain_trues, to_cylinder
from small_scanner import events_mm, painted, scan_of
from tgdpet.config.sections import Grid, Simulation
from tgdpet.listmode.background import Background
from tgdpet.scanner.cylinder import Scanner
from tgdpet.simulation import monte_carlo
from tgdpet.simulation.monte_carlo import Scan
from tgdpet.simulation.thinning import Thinned

GRID = Grid([36, 36, 24], [4.0, 4.0, 4.0])
SCANNER = Scanner(120.0, 92, 8, 8.0, 6, 280.0, 140.0, 0.5, 100.0)
SETTINGS = Simulation(scan_s=60.0, psf_fwhm_mm=7.0, psf_radial_slope=0.5)
NOTHING = Background(0.0, [0.0] * 3, [30.0] * 3, 0.0)


@pytest.fixture(scope="module")
def scan() -> Scan:
    """A body off the axis, denser than water to one side and thinner to another, with a hot spot
    near its edge.
    """
    body = painted(GRID, (6.0, -4.0, -4.0), (60.0, 52.0, 90.0))
    lung = painted(GRID, (-20.0, 0.0, 4.0), (18.0, 22.0, 30.0))
    bone = painted(GRID, (36.0, -10.0, -4.0), (12.0, 16.0, 60.0))
    spot = painted(GRID, (40.0, 24.0, -10.0), (8.0, 8.0, 8.0))

    # per cm: some twice what bodies have, as this one is small
    mu = 0.2 * body * (1 - 0.8 * lung) * (1 + bone)
    concentration = 250.0 * body + 8000.0 * spot

    return scan_of(concentration, mu.astype(np.float32), GRID, SCANNER, SETTINGS)


@pytest.fixture(scope="module")
def pair(scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    """The simulation's events and the plain ones."""
    drawn = np.concatenate(list(monte_carlo.simulate(scan, NOTHING, 5, slices=4)))
    return drawn, plain_trues(scan, 6)


def agree(counts: np.ndarray, others: np.ndarray) -> bool:
    """Whether two histograms are of one distribution and rate: chi-square of two samples."""
    filled = counts + others >= 20
    counts = np.append(counts[filled], counts[~filled].sum())
    others = np.append(others[filled], others[~filled].sum())
    total = np.maximum(counts + others, 1)
    chi2 = ((counts - others) ** 2 / total).sum()

    return bool(stats.chi2.sf(chi2, len(total)) > 1e-3)


def in_order(events: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Detectors and TOF bins with the lower crystal first."""
    n = SCANNER.crystals_per_ring
    det0 = events["det0"].astype(int)
    det1 = events["det1"].astype(int)
    turned = det0 % n > det1 % n

    first = np.where(turned, det1, det0)
    second = np.where(turned, det0, det1)
    tof = np.where(turned, -events["tof"], events["tof"])
    return first, second, tof


def test_lors_tof_and_places_are_those_of_all_emissions(pair):
    n = SCANNER.crystals_per_ring
    histograms = []

    for events in pair:
        first, second, tof = in_order(events)
        place = events_mm(SCANNER, events)
        radius_mm = np.hypot(place[:, 0], place[:, 1])
        crystals = first % n // 2 * n + second % n // 2
        rings = first // n * SCANNER.rings + second // n
        tofs = tof + SCANNER.tof_half_bins
        histograms.append(
            {
                "all": np.array([len(events)]),
                "crystals": np.bincount(crystals, minlength=n * n),
                "rings": np.bincount(rings, minlength=SCANNER.rings**2),
                "tof": np.bincount(tofs, minlength=2 * SCANNER.tof_half_bins + 1),
                "tof by crystal": np.bincount(first % n * 100 + tofs, minlength=100 * n),
                "radius": np.histogram(radius_mm, np.arange(0, 110, 2))[0],
                "along the axis": np.histogram(place[:, 2], np.arange(-32, 33, 4))[0],
            }
        )

    assert min(len(events) for events in pair) > 50_000
    disagree = [key for key in histograms[0] if not agree(histograms[0][key], histograms[1][key])]
    assert disagree == []


def test_each_detector_comes_first_as_often(pair):
    drawn, _ = pair
    first = int((drawn["det0"] < drawn["det1"]).sum())
    assert stats.binomtest(first, len(drawn)).pvalue > 1e-3


def lines_within(
    thinned: Thinned, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Random lines (n,) of random bins: the bins, positions, directions, and how far each is turned
    from the middle of its bin.
    """
    blocks = thinned.blocks
    directions = thinned.directions
    _, n_azimuths, n_slopes = directions.bins.shape
    where = rng.permutation(np.argwhere(blocks.row >= 0))
    where = where[rng.integers(0, len(where), n)]
    row = blocks.row[tuple(where.T)]
    azimuth = rng.integers(0, n_azimuths, n)
    slope = rng.integers(0, n_slopes, n)

    position_mm = blocks.corner_mm + (where + rng.random((n, 3))) * blocks.size_mm
    turn = rng.random(n)
    phi = (azimuth + turn) * math.pi / n_azimuths
    cosine = (2 * (slope + rng.random(n)) / n_slopes - 1) * directions.steepest[row]
    sine = np.sqrt(1 - cosine**2)
    direction = np.stack([sine * np.cos(phi), sine * np.sin(phi), cosine], axis=1)
    off = (turn - 0.5) * math.pi / n_azimuths

    return directions.bins[row, azimuth, slope], position_mm, direction, off


def test_no_line_has_less_or_more_attenuation_than_its_bin_says(scan):
    rng = np.random.default_rng(1)
    bins, position_mm, direction, off = lines_within(scan.thinned, 20_000, rng)

    # samples where q, along the bin's middle azimuth, is a whole step plus any offset
    step_mm = scan.thinned.body.step_mm
    sine = np.hypot(direction[:, 0], direction[:, 1])
    forward_mm = (position_mm[:, :2] * direction[:, :2]).sum(axis=1) / sine
    aside_mm = (position_mm[:, 1] * direction[:, 0] - position_mm[:, 0] * direction[:, 1]) / sine
    q_mm = forward_mm * np.cos(off) - aside_mm * np.sin(off)
    phase = (rng.random(len(bins)) - q_mm / step_mm) % 1
    sums = line_sums(scan, position_mm, direction, phase, step_mm / (sine * np.cos(off)))

    drawn = np.isfinite(bins["least"])
    least = bins["least"][drawn].astype(float)
    with np.errstate(divide="ignore"):
        most = least - np.log(bins["sure"][drawn])
    assert drawn.mean() > 0.3
    assert np.all(sums[drawn] >= least - 1e-5)
    assert np.all(sums[drawn] <= most + 1e-5)
    # and they bound it well
    assert np.mean(least) > 0.1
    assert np.mean(np.exp(least - sums[drawn])) > 0.4
    assert np.mean(bins["sure"][drawn]) > 0.1


def test_bins_that_are_never_drawn_hold_no_line_between_detectors(scan):
    rng = np.random.default_rng(2)
    bins, position_mm, direction, _ = lines_within(scan.thinned, 20_000, rng)

    # of those within the scanner, the ones that meet detectors at both ends
    within = np.hypot(position_mm[:, 0], position_mm[:, 1]) < SCANNER.radius_mm
    position_mm = position_mm[within]
    direction = direction[within]
    ends_mm = to_cylinder(position_mm, direction, SCANNER.radius_mm)
    heights_mm = [position_mm[:, 2] + end_mm * direction[:, 2] for end_mm in ends_mm]
    seen = (np.abs(heights_mm) < SCANNER.axial_mm / 2).all(axis=0)

    drawn = np.isfinite(bins["least"][within])
    assert not (seen & ~drawn).any()
    # and few others
    assert seen.sum() > 0.3 * drawn.sum()
