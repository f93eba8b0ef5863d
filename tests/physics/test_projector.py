"""The projector pair is adjoint, agrees with geometry and with an independent implementation."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from small_scanner import (
    LONG,
    LONG_GRID,
    SMALL,
    SMALL_GRID,
    any_lors,
    axes_mm,
    cylinder,
    events_of,
    joseph,
    painted,
    positions_mm,
    some_lors,
    tof_weight,
)
from tgdpet.config.sections import Grid
from tgdpet.recon.projector_cpu import Projector
from tgdpet.recon.tof import tof_table
from tgdpet.scanner.cylinder import Scanner

CASES = [(SMALL, SMALL_GRID), (LONG, LONG_GRID)]


@pytest.mark.parametrize(("scanner", "grid"), CASES)
@pytest.mark.parametrize("use_tof", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-9)])
def test_back_is_the_adjoint_of_forward(scanner, grid, use_tof, dtype, tolerance):
    rng = np.random.default_rng(1)
    det0, det1, tof = any_lors(scanner, 5000, rng)
    bins = tof if use_tof else None
    pair = Projector(scanner, grid)

    # positive: every weight counts; mixed signs: nothing relies on positive values
    for low in (0.1, -1.0):
        x = rng.uniform(low, 1, grid.shape).astype(dtype)
        y = rng.uniform(low, 1, len(det0)).astype(dtype)
        ax = pair.forward(x, det0, det1, bins)
        aty = pair.back(y, det0, det1, bins)

        assert ax.dtype == aty.dtype == dtype

        left = np.vdot(ax.astype(float), y.astype(float))
        right = np.vdot(x.astype(float), aty.astype(float))
        size = np.vdot(np.abs(ax).astype(float), np.abs(y).astype(float))

        assert abs(left - right) <= tolerance * size


@pytest.mark.parametrize(("scanner", "grid"), CASES)
def test_agrees_with_a_plain_joseph_projector(scanner, grid):
    rng = np.random.default_rng(2)
    det0, det1, tof = any_lors(scanner, 400, rng)

    if scanner is LONG:  # a third of them along the axis
        det0[:130] = rng.integers(0, 46, 130)
        det1[:130] = scanner.n_detectors - 1 - rng.integers(0, 46, 130)

    image = rng.random(grid.shape)
    pair = Projector(scanner, grid)
    lors = [(int(a), int(b)) for a, b in zip(det0, det1, strict=True)]
    direction = np.abs(positions_mm(scanner, det1) - positions_mm(scanner, det0)).argmax(axis=1)
    slow = np.array([joseph(image, grid, scanner, lor) for lor in lors])
    hit = set(direction[slow > 0])

    assert {0, 1} <= hit and (scanner is not LONG or 2 in hit), "every main axis has to be tried"
    np.testing.assert_allclose(pair.forward(image, det0, det1), slow, rtol=1e-5, atol=1e-4)

    slow_tof = np.array(
        [joseph(image, grid, scanner, lor, int(t)) for lor, t in zip(lors, tof, strict=True)]
    )
    np.testing.assert_allclose(
        pair.forward(image, det0, det1, tof), slow_tof, rtol=3e-3, atol=3e-3 * slow_tof.max()
    )


def test_chords_through_a_cylinder_have_their_analytic_length():
    scanner, grid = SMALL, Grid([84, 84, 16], [2.0, 2.0, 4.0])
    radius = 70.0
    det0, det1 = some_lors(scanner, 4000)
    p, q = positions_mm(scanner, det0), positions_mm(scanner, det1)
    p, q, det0, det1 = (a[np.abs(p[:, 2] - q[:, 2]) < 30] for a in (p, q, det0, det1))
    across = np.linalg.norm((q - p)[:, :2], axis=1)
    distance = np.abs(p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]) / across
    inside = distance < 0.8 * radius
    in_plane = 2 * np.sqrt(radius**2 - distance[inside] ** 2)
    chord = in_plane * (np.linalg.norm(q - p, axis=1) / across)[inside]
    measured = Projector(scanner, grid).forward(cylinder(grid, radius), det0[inside], det1[inside])

    assert inside.sum() > 500
    np.testing.assert_allclose(measured, chord, rtol=0.01)


def test_chords_through_an_off_centre_sphere_have_their_analytic_length():
    scanner, grid = LONG, Grid([96, 96, 120], [0.8, 0.8, 0.8])
    centre, radius = np.array([9.0, -7.0, 16.0]), 25.0
    det0, det1, _ = any_lors(scanner, 400_000, np.random.default_rng(3))
    p, q = positions_mm(scanner, det0), positions_mm(scanner, det1)
    u = (q - p) / np.linalg.norm(q - p, axis=1, keepdims=True)
    distance = np.linalg.norm(np.cross(centre - p, u), axis=1)
    inside = distance < 0.8 * radius
    measured = Projector(scanner, grid).forward(
        painted(grid, tuple(centre), (radius,) * 3), det0[inside], det1[inside]
    )

    assert inside.sum() > 1000
    np.testing.assert_allclose(measured, 2 * np.sqrt(radius**2 - distance[inside] ** 2), rtol=0.01)


def test_tof_bins_sum_to_the_non_tof_value():
    x, y, _ = axes_mm(SMALL_GRID)
    in_view = x**2 + y**2 < (SMALL.fov_radius_mm - 8) ** 2
    image = np.random.default_rng(4).random(SMALL_GRID.shape) * in_view
    det0, det1 = some_lors(SMALL, 3000)
    pair = Projector(SMALL, SMALL_GRID)
    whole = pair.forward(image, det0, det1)
    bins = range(-SMALL.tof_half_bins, SMALL.tof_half_bins + 1)
    total = sum(pair.forward(image, det0, det1, np.full(len(det0), t, np.int32)) for t in bins)
    crossing = whole > 0.01 * whole.max()

    np.testing.assert_allclose(total[crossing], whole[crossing], rtol=1e-3)


def test_a_tof_bin_sees_the_side_it_points_to():
    x, _, _ = axes_mm(SMALL_GRID)
    right = np.broadcast_to((x > 0).astype(float), SMALL_GRID.shape).copy()
    pair = Projector(SMALL, SMALL_GRID)

    # -x to +x and back
    det0 = np.repeat([2 * 46 + 22, 2 * 46], 2)
    det1 = np.repeat([2 * 46, 2 * 46 + 22], 2)
    seen = pair.forward(right, det0, det1, np.array([2, -2, 2, -2], np.int32))

    assert seen[0] > 10 * seen[1] and seen[3] > 10 * seen[2]


@pytest.mark.parametrize("scanner", [SMALL, dataclasses.replace(SMALL, tof_bin_ps=35.0)])
def test_the_tof_kernel_is_a_gaussian_over_the_bin(scanner):
    table = tof_table(scanner.tof_sigma_mm, scanner.tof_bin_mm)
    at = np.arange(table.weights.size) / table.per_mm
    reach_mm = scanner.tof_bin_mm / 2 + 3 * scanner.tof_sigma_mm

    assert table.reach_mm == pytest.approx(reach_mm, abs=0.05)
    np.testing.assert_allclose(table.weights[:-1], tof_weight(at[:-1], scanner), rtol=3e-3)
    assert table.weights[-1] == 0

    whole = 2 * table.weights.sum(dtype=float) - table.weights[0]
    assert whole / table.per_mm == pytest.approx(scanner.tof_bin_mm, rel=1e-6)


class HalfBins(Scanner):
    """Centres of TOF bins at odd multiples of half a bin, as an even number of bins has them."""

    @property
    def tof_step_mm(self) -> float:
        return self.tof_bin_mm / 2


class OneBin(HalfBins):
    """A single TOF bin of 60 mm without TOF resolution."""

    tof_sigma_mm, tof_bin_mm = 0.0, 60.0  # type: ignore[assignment]


def test_a_tof_bin_lies_where_the_scanner_says():
    whole = Projector(SMALL, SMALL_GRID)
    half = Projector(HalfBins(**dataclasses.asdict(SMALL)), SMALL_GRID)
    det0, det1 = some_lors(SMALL, 1000)
    image = np.random.default_rng(8).random(SMALL_GRID.shape, dtype=np.float32)
    bins = np.random.default_rng(9).integers(-3, 4, len(det0)).astype(np.int32)
    additive = np.ones(len(det0), np.float32)

    assert np.array_equal(
        half.forward(image, det0, det1, 2 * bins), whole.forward(image, det0, det1, bins)
    )
    assert np.array_equal(
        half.em_back(image, events_of(det0, det1, 2 * bins), additive),
        whole.em_back(image, events_of(det0, det1, bins), additive),
    )


def test_without_tof_resolution_everything_inside_the_bin_counts_and_nothing_beyond():
    scanner = OneBin(**dataclasses.asdict(SMALL))
    grid = Grid([150, 22, 10], [1.0, 7.0, 5.0])

    # along x
    det0 = np.array([2 * 46 + 22])
    det1 = np.array([2 * 46])
    seen = Projector(scanner, grid).forward(np.ones(grid.shape), det0, det1, np.zeros(1, np.int32))

    length = np.linalg.norm(positions_mm(SMALL, det1) - positions_mm(SMALL, det0))
    along_x = np.ptp(scanner.detector_mm()[[22, 0], 0])

    assert seen[0] == pytest.approx(60 * length / along_x, rel=1e-5)


def test_lines_end_at_their_detectors():
    # a ring of 120 mm within a grid of 300 mm: nothing beyond it is seen or reached
    grid = Grid([60, 60, 12], [5.0, 5.0, 5.0])
    x, y, z = axes_mm(grid)
    beyond = np.broadcast_to(np.hypot(x, y) > SMALL.radius_mm + 8, grid.shape)
    det0, det1, tof = any_lors(SMALL, 3000, np.random.default_rng(12))
    pair = Projector(SMALL, grid)

    assert not pair.forward(beyond.astype(np.float32), det0, det1).any()
    assert not pair.forward(beyond.astype(np.float32), det0, det1, tof).any()

    image = pair.back(np.ones(len(det0)), det0, det1)
    assert image.any() and not image[beyond].any()

    # and nothing within it is lost: a line is as long as its detectors are apart
    distance_mm = np.linalg.norm(positions_mm(SMALL, det1) - positions_mm(SMALL, det0), axis=1)
    tall = Grid([60, 60, 40], [5.0, 5.0, 5.0])
    whole = Projector(SMALL, tall).forward(np.ones(tall.shape), det0, det1)
    np.testing.assert_allclose(whole, distance_mm, atol=1.01 * 5.0 * np.sqrt(3))


def test_em_back_divides_by_forward_plus_additive():
    rng = np.random.default_rng(5)
    det0, det1, tof = any_lors(SMALL, 5000, rng)
    image = rng.random(SMALL_GRID.shape).astype(np.float32)
    additive = rng.uniform(0.5, 2, len(det0)).astype(np.float32)
    pair = Projector(SMALL, SMALL_GRID)
    expected = pair.forward(image, det0, det1, tof) + additive
    plain = pair.back((1 / expected).astype(np.float32), det0, det1, tof)
    fused = pair.em_back(image, events_of(det0, det1, tof), additive)

    np.testing.assert_allclose(fused, plain, rtol=1e-4, atol=1e-5 * plain.max())


def test_em_back_leaves_out_events_that_cannot_be():
    det0, det1 = some_lors(SMALL, 100)
    events = events_of(det0, det1, np.zeros(100, np.int32))
    nothing = np.zeros(SMALL_GRID.shape, np.float32)
    image = Projector(SMALL, SMALL_GRID).em_back(nothing, events, np.zeros(100, np.float32))
    assert not image.any()
