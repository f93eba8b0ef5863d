"""OSEM gives Bq/mL, whatever the scan time, once attenuation and background are corrected."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from small_scanner import all_lors, axes_mm, cylinder, events_of, painted, scan_of
from tgdpet.config.roles import Sample
from tgdpet.config.sections import Grid, ReconProtocol, Simulation
from tgdpet.constants import FWHM_PER_SIGMA
from tgdpet.listmode.background import Background
from tgdpet.listmode.events import EVENT
from tgdpet.listmode.subsample import keep
from tgdpet.recon import additive_term, osem
from tgdpet.recon import sensitivity as sensitivities
from tgdpet.recon.gaussian import blur
from tgdpet.recon.projector_cpu import Projector
from tgdpet.recon.subsets import DrawnEvents, OrderedEvents
from tgdpet.scanner.cylinder import Scanner
from tgdpet.simulation import monte_carlo

SCANNER = Scanner(200.0, 160, 12, 8.0, 11, 280.0, 140.0, 0.5, 150.0)
GRID = Grid([30, 30, 12], [8.0, 8.0, 8.0])
MU = (0.096 * cylinder(GRID, 90.0)).astype(np.float32)
PROTOCOL = ReconProtocol([8.0] * 3, 3, 4)
LEVEL_BQML = 1000.0
PROJECTOR = Projector(SCANNER, GRID)
MIDDLE = slice(3, 9)


@dataclass(frozen=True)
class Study:
    """Events of a warm cylinder and what they were made with."""

    events: np.ndarray
    noise: Background
    effective_s: float


@cache
def cylinder_study(
    level_bqml: float = LEVEL_BQML, scan_s: float = 60.0, background: bool = True
) -> Study:
    settings = Simulation(
        scan_s=scan_s,
        psf_fwhm_mm=5.0,
        scatter_fraction=0.3 if background else 0.0,
        randoms_fraction=0.2 if background else 0.0,
    )
    scan = scan_of(level_bqml * cylinder(GRID, 90.0), MU, GRID, SCANNER, settings)
    noise = monte_carlo.background(scan, 1)
    events = np.concatenate(list(monte_carlo.simulate(scan, noise, 2, slices=8)))

    return Study(events, noise, scan.effective_s)


@cache
def sensitivity(attenuated: bool = True) -> np.ndarray:
    return sensitivities.sensitivity(PROJECTOR, MU if attenuated else 0 * MU)


def image_of(
    study: Study, additive: np.ndarray | None = None, attenuated: bool = True
) -> np.ndarray:
    if additive is None:
        mu = MU if attenuated else 0 * MU
        additive = additive_term.additive(PROJECTOR, study.events, mu, study.noise)

    return osem.reconstruct(
        PROJECTOR,
        study.events,
        additive,
        sensitivity(attenuated),
        study.effective_s,
        PROTOCOL,
    )


def ring_means(image: np.ndarray, edges: tuple[float, ...] = (0, 25, 45, 60, 75)) -> np.ndarray:
    """Mean in the middle slices within rings about the axis, mm."""
    x, y, _ = axes_mm(GRID)
    r = np.hypot(x, y)[:, :, 0]

    means = []
    for inner, outer in pairwise(edges):
        means.append(image[(r >= inner) & (r < outer), MIDDLE].mean())

    return np.array(means)


def test_a_warm_cylinder_has_its_activity_everywhere():
    study = cylinder_study()
    image = image_of(study)
    assert len(study.events) > 400_000 and image.dtype == np.float32

    rings = ring_means(image)
    assert rings.mean() == pytest.approx(LEVEL_BQML, rel=0.015)
    assert np.abs(rings / rings.mean() - 1).max() < 0.02

    x, y, _ = axes_mm(GRID)
    slices = image[(np.hypot(x, y) < 75)[:, :, 0]].mean(axis=0)
    assert np.abs(slices / LEVEL_BQML - 1).max() < 0.05

    outside = np.broadcast_to(np.hypot(x, y) > 106, image.shape)[:, :, MIDDLE]
    assert image[:, :, MIDDLE][outside].mean() < 0.03 * LEVEL_BQML


def test_noiseless_data_converge_to_the_truth():
    """LORs and TOF bins hold their expected events; rounding carries over to the next bin."""
    scanner = Scanner(120.0, 46, 6, 8.0, 5, 280.0, 280.0, 0.5, 80.0)
    grid = Grid([20, 20, 8], [8.0, 8.0, 6.0])
    projector = Projector(scanner, grid)

    mu = (0.096 * cylinder(grid, 65.0)).astype(np.float32)
    lesion = painted(grid, (25.0, 10.0, 0.0), (18.0, 18.0, 14.0))
    truth = (1000 * cylinder(grid, 65.0) + 2000 * lesion).astype(float)

    # an event on every LOR and TOF bin
    lors0, lors1 = all_lors(scanner)
    bins = np.arange(-scanner.tof_half_bins, scanner.tof_half_bins + 1, dtype=np.int32)
    det0 = np.repeat(lors0, len(bins))
    det1 = np.repeat(lors1, len(bins))
    every = events_of(det0, det1, np.tile(bins, len(lors0)))

    # counts/s expected on each, and the whole events of a scan of five a bin
    noise = Background(2e4, [5.0, 0.0, 0.0], [45.0, 40.0, 25.0], 0.01)
    additive = additive_term.additive(projector, every, mu, noise)
    line = projector.forward(truth, det0, det1, every["tof"]) + additive
    survive = np.exp(-projector.forward(mu / 10, det0, det1))
    rate = line * 1e-3 * survive * scanner.lor_weights(det0, det1)
    seconds = 5 * len(every) / rate.sum()
    counts = np.diff(np.floor(np.cumsum(rate * seconds)), prepend=0).astype(int)

    events = np.repeat(every, counts)
    background = np.repeat(additive, counts)
    image = osem.reconstruct(
        projector,
        events,
        background,
        sensitivities.sensitivity(projector, mu),
        seconds,
        ReconProtocol([0.0] * 3, 60, 1),
    )

    assert (additive * rate / line).sum() > 0.2 * rate.sum(), "a background worth correcting"

    x, y, z = axes_mm(grid)
    hot = np.hypot(x - 25, y - 10) < 26
    uniform = np.broadcast_to((np.hypot(x, y) < 50) & ~hot, image.shape)

    assert image[uniform].mean() == pytest.approx(1000, rel=0.01)

    for side in (x < 0, x >= 0, y < 0, y >= 0, z < 0, z >= 0):
        of_side = uniform & np.broadcast_to(side, image.shape)
        assert image[of_side].mean() == pytest.approx(1000, rel=0.01)

    inside = np.broadcast_to(np.hypot(x - 25, y - 10) < 9, image.shape)[:, :, 3:5]
    assert image[:, :, 3:5][inside].mean() == pytest.approx(3000, rel=0.03)


def test_every_correction_is_needed():
    study = cylinder_study()
    right = ring_means(image_of(study))
    no_attenuation = ring_means(image_of(study, attenuated=False))

    assert no_attenuation[0] < 0.5 * right[0], "attenuation"
    assert no_attenuation[0] < 0.8 * no_attenuation[-1], "without it the middle is cold"

    nothing = np.zeros(len(study.events), np.float32)
    no_background = ring_means(image_of(study, nothing))
    assert no_background[0] > 1.3 * right[0], "background"

    no_scatter = replace(study, noise=replace(study.noise, scatter_bq=0.0))
    assert ring_means(image_of(no_scatter))[0] > 1.06 * right[0], "scatter"

    no_randoms = replace(study, noise=replace(study.noise, randoms_per_s=0.0))
    assert ring_means(image_of(no_randoms))[0] > 1.06 * right[0], "randoms"


def test_the_image_scales_with_activity_and_not_with_scan_time():
    once = ring_means(image_of(cylinder_study(scan_s=8.0, background=False)))
    twice = ring_means(image_of(cylinder_study(2 * LEVEL_BQML, 8.0, background=False)))
    longer = ring_means(image_of(cylinder_study(scan_s=16.0, background=False)))
    np.testing.assert_allclose(twice / once, 2, rtol=0.05)
    np.testing.assert_allclose(longer / once, 1, rtol=0.05)


def test_a_hot_point_comes_back_where_it_was():
    concentration = np.zeros(GRID.shape)
    concentration[21, 10, 5] = 1e5
    settings = Simulation(scan_s=10.0, psf_fwhm_mm=3.0, scatter_fraction=0.0, randoms_fraction=0.0)
    scan = scan_of(concentration, MU, GRID, SCANNER, settings)
    noise = Background(0.0, [0.0] * 3, [30.0] * 3, 0.0)
    events = np.concatenate(list(monte_carlo.simulate(scan, noise, 3, slices=2)))
    image = image_of(Study(events, noise, scan.effective_s))

    assert np.unravel_index(image.argmax(), image.shape) == (21, 10, 5)

    whole = image[18:25, 7:14, 2:9]
    assert whole.sum() == pytest.approx(1e5, rel=0.1)
    assert image.sum() == pytest.approx(whole.sum(), rel=0.05)


def test_few_iterations_have_not_converged_and_more_sharpen():
    study = cylinder_study(scan_s=8.0, background=False)
    additive = np.zeros(len(study.events), np.float32)

    def edge(iterations: int) -> float:
        image = osem.reconstruct(
            PROJECTOR,
            study.events,
            additive,
            sensitivity(),
            study.effective_s,
            ReconProtocol([8.0] * 3, iterations, 2),
        )
        outside = image[3, 13:17, MIDDLE]  # 4 mm from the edge

        return float(outside.mean() / image[13:17, 13:17, MIDDLE].mean())

    assert edge(4) < 0.9 * edge(1)


def test_the_post_filter_is_a_gaussian_of_its_width():
    image = np.zeros((41, 41, 41), np.float32)
    image[20, 20, 20] = 1
    smooth = blur(image, [12.0, 9.0, 6.0], [2.0, 2.0, 2.0])

    for axis, fwhm in enumerate((12.0, 9.0, 6.0)):
        profile = smooth.sum(axis=tuple(a for a in range(3) if a != axis))
        position_mm = (np.arange(41) - 20) * 2.0
        variance = (profile * position_mm**2).sum() / profile.sum()
        assert 2.3548 * np.sqrt(variance) == pytest.approx(fwhm, rel=0.03)

    assert smooth.sum() == pytest.approx(1, abs=1e-4)


def test_the_post_filter_acts_on_each_axis_by_its_width():
    study = cylinder_study(scan_s=2.0, background=False)
    additive = np.zeros(len(study.events), np.float32)
    widths_mm = [12.0, 8.0, 0.0]

    def image(post_fwhm_mm: list[float]) -> np.ndarray:
        protocol = ReconProtocol([8.0] * 3, 1, 1, post_fwhm_mm)
        seconds = study.effective_s
        return osem.reconstruct(PROJECTOR, study.events, additive, sensitivity(), seconds, protocol)

    filtered = blur(image([0.0, 0.0, 0.0]), widths_mm, GRID.voxel_mm)
    assert np.array_equal(image(widths_mm), filtered)


def test_blur_is_its_own_adjoint_and_none_at_width_zero():
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 12, 14, 10))
    args = ([9.0, 12.0, 7.0], [4.0, 4.0, 5.0])
    left = np.vdot(blur(x, *args), y)
    right = np.vdot(x, blur(y, *args))

    assert left == pytest.approx(right, rel=1e-12)
    assert np.array_equal(blur(x, [0.0] * 3, [4.0] * 3), x)


def test_the_same_image_for_any_number_of_threads():
    study = cylinder_study(scan_s=8.0, background=False)
    events = study.events[:20_001]
    additive = np.zeros(20_001, np.float32)

    def image(threads: int) -> np.ndarray:
        projector = Projector(SCANNER, GRID, threads)
        return osem.reconstruct(projector, events, additive, sensitivity(), 1.0, PROTOCOL)

    assert np.array_equal(image(1), image(2))


@pytest.mark.parametrize("n_subsets", [1, 3, 4])
def test_a_sample_of_ordered_events_has_the_subsets_that_it_has_alone(n_subsets):
    study = cylinder_study(scan_s=2.0, background=False)
    n_events = len(study.events)
    rng = np.random.default_rng(4)
    additive = rng.random(n_events, dtype=np.float32)
    kept = rng.random(n_events) < 0.3

    of_study = OrderedEvents(PROJECTOR, study.events, additive)
    alone = OrderedEvents(PROJECTOR, study.events[kept], additive[kept])

    for ours, theirs in zip(
        of_study.subsets(n_subsets, kept), alone.subsets(n_subsets), strict=True
    ):
        assert np.array_equal(ours.events, theirs.events)
        assert np.array_equal(ours.additive, theirs.additive)
        assert ours.n_events == len(ours.events)

    # every n-th event, each once
    first = of_study.subsets(n_subsets, kept)[0]
    by_hand = additive[kept][::n_subsets]
    assert np.array_equal(np.sort(first.additive), np.sort(by_hand))


def test_samples_drawn_together_are_those_drawn_alone():
    study = cylinder_study(scan_s=2.0, background=False)
    n_events = len(study.events)
    additive = np.random.default_rng(6).random(n_events, dtype=np.float32)
    halves = [Sample("half1", 0.4, 0, 2), Sample("half2", 0.4, 1, 2)]
    together = DrawnEvents(PROJECTOR, halves, study.events, additive, 7, "a")

    for sample in halves:
        kept = keep(sample, 0, n_events, 7, "a")
        alone = OrderedEvents(PROJECTOR, study.events[kept], additive[kept]).subsets(3)

        for ours, theirs in zip(together.subsets(sample, 3), alone, strict=True):
            assert np.array_equal(ours.events, theirs.events)
            assert np.array_equal(ours.additive, theirs.additive)


def test_blur_is_the_gaussian_of_scipy():
    image = np.random.default_rng(5).random((9, 31, 700), dtype=np.float32)
    widths_mm = [25.0, 9.0, 14.0]
    voxel_mm = [4.0, 3.0, 2.0]

    expected = image.astype(float)
    for axis in range(3):
        sigma = widths_mm[axis] / FWHM_PER_SIGMA / voxel_mm[axis]
        expected = gaussian_filter1d(expected, sigma, axis=axis, mode="constant", truncate=3.0)

    for axes in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        turned = blur(
            image.transpose(axes), [widths_mm[a] for a in axes], [voxel_mm[a] for a in axes]
        )
        np.testing.assert_allclose(turned, expected.transpose(axes), rtol=1e-5, atol=1e-6)


def test_too_few_events_are_refused():
    events = np.zeros(3, EVENT)
    additive = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match="3 events cannot be split into 4 subsets"):
        osem.reconstruct(PROJECTOR, events, additive, sensitivity(), 1.0, PROTOCOL)


def test_valid_slices_are_those_seen_well_enough():
    profile = np.array([0, 0.1, 0.2, 0.3, 1, 1, 0.5, 0.26, 0.24, 0.0], np.float32)
    sensitivity = np.ones((9, 9, 10), np.float32) * profile
    assert osem.valid_slices(sensitivity) == (3, 7)
