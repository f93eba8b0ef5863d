"""The projector pair is adjoint, agrees with geometry and with an independent implementation, whatever the threads."""

from __future__ import annotations

import numpy as np
import pytest
from small import LONG, LONG_GRID, SMALL, SMALL_GRID, axes_mm, cylinder, joseph, painted, positions_mm, tof_weight

from tgdpet.config import Grid
from tgdpet.corrections import sample_lors
from tgdpet.listmode import EVENT
from tgdpet.projector import Projector
from tgdpet.scanner import Scanner

CASES = [(SMALL, SMALL_GRID), (LONG, LONG_GRID)]


def any_lors(scanner: Scanner, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Detector pairs and TOF bins of all kinds, outside the field of view and along the axis included."""
    det0 = rng.integers(0, scanner.n_detectors, n)
    det1 = (det0 + rng.integers(1, scanner.n_detectors, n)) % scanner.n_detectors
    return det0, det1, rng.integers(-4, 5, n).astype(np.int32)


def events_of(det0: np.ndarray, det1: np.ndarray, tof: np.ndarray) -> np.ndarray:
    events = np.empty(len(det0), EVENT)
    events["det0"], events["det1"], events["tof"] = det0, det1, tof
    return events


@pytest.mark.parametrize(("scanner", "grid"), CASES)
@pytest.mark.parametrize("use_tof", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-9)])
def test_back_is_the_adjoint_of_forward(scanner, grid, use_tof, dtype, tolerance):
    rng = np.random.default_rng(1)
    det0, det1, tof = any_lors(scanner, 5000, rng)
    bins = tof if use_tof else None
    projector = Projector(scanner, grid)
    for low in (0.1, -1.0):  # positive: every weight counts; mixed signs: nothing relies on positive values
        x = rng.uniform(low, 1, grid.shape).astype(dtype)
        y = rng.uniform(low, 1, len(det0)).astype(dtype)
        ax, aty = projector.forward(x, det0, det1, bins), projector.back(y, det0, det1, bins)
        assert ax.dtype == aty.dtype == dtype
        left, right = np.vdot(ax.astype(float), y.astype(float)), np.vdot(x.astype(float), aty.astype(float))
        size = np.vdot(np.abs(ax).astype(float), np.abs(y).astype(float))
        assert abs(left - right) <= tolerance * size


@pytest.mark.parametrize(("scanner", "grid"), CASES)
def test_agrees_with_a_plain_joseph_projector(scanner, grid):
    rng = np.random.default_rng(2)
    det0, det1, tof = any_lors(scanner, 400, rng)
    if scanner is LONG:  # a third of them along the axis
        det0[:130], det1[:130] = rng.integers(0, 46, 130), scanner.n_detectors - 1 - rng.integers(0, 46, 130)
    image = rng.random(grid.shape)
    projector = Projector(scanner, grid)
    lors = [(int(a), int(b)) for a, b in zip(det0, det1, strict=True)]
    direction = np.abs(positions_mm(scanner, det1) - positions_mm(scanner, det0)).argmax(axis=1)
    slow = np.array([joseph(image, grid, scanner, lor) for lor in lors])
    hit = set(direction[slow > 0])
    assert {0, 1} <= hit and (scanner is not LONG or 2 in hit), "every main axis has to be tried"
    np.testing.assert_allclose(projector.forward(image, det0, det1), slow, rtol=1e-5, atol=1e-4)
    slow_tof = np.array([joseph(image, grid, scanner, lor, int(t)) for lor, t in zip(lors, tof, strict=True)])
    np.testing.assert_allclose(
        projector.forward(image, det0, det1, tof), slow_tof, rtol=3e-3, atol=3e-3 * slow_tof.max()
    )


def test_chords_through_a_cylinder_have_their_analytic_length():
    scanner, grid = SMALL, Grid([84, 84, 16], [2.0, 2.0, 4.0])
    radius = 70.0
    det0, det1 = sample_lors(scanner, 0, 4000)
    p, q = positions_mm(scanner, det0), positions_mm(scanner, det1)
    p, q, det0, det1 = (a[np.abs(p[:, 2] - q[:, 2]) < 30] for a in (p, q, det0, det1))
    across = np.linalg.norm((q - p)[:, :2], axis=1)
    distance = np.abs(p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]) / across
    inside = distance < 0.8 * radius
    chord = 2 * np.sqrt(radius**2 - distance[inside] ** 2) * (np.linalg.norm(q - p, axis=1) / across)[inside]
    measured = Projector(scanner, grid).forward(cylinder(grid, radius), det0[inside], det1[inside])
    assert inside.sum() > 500
    np.testing.assert_allclose(measured, chord, rtol=0.01)


def test_chords_through_an_off_centre_sphere_have_their_analytic_length():
    scanner, grid = LONG, Grid([50, 50, 60], [2.0, 2.0, 2.0])
    centre, radius = np.array([14.0, -9.0, 21.0]), 25.0
    det0, det1, _ = any_lors(scanner, 400_000, np.random.default_rng(3))
    p, q = positions_mm(scanner, det0), positions_mm(scanner, det1)
    u = (q - p) / np.linalg.norm(q - p, axis=1, keepdims=True)
    distance = np.linalg.norm(np.cross(centre - p, u), axis=1)
    inside = distance < 0.8 * radius
    measured = Projector(scanner, grid).forward(painted(grid, tuple(centre), (radius,) * 3), det0[inside], det1[inside])
    assert inside.sum() > 1000
    chord = 2 * np.sqrt(radius**2 - distance[inside] ** 2)
    assert np.abs(measured / chord - 1).max() < 0.03  # single lines feel the voxels
    assert measured.mean() == pytest.approx(chord.mean(), rel=5e-3)
    assert np.sqrt(np.mean((measured / chord - 1) ** 2)) < 0.01


def test_tof_bins_sum_to_the_non_tof_value():
    x, y, _ = axes_mm(SMALL_GRID)
    image = np.random.default_rng(4).random(SMALL_GRID.shape) * (x**2 + y**2 < (SMALL.fov_radius_mm - 8) ** 2)
    det0, det1 = sample_lors(SMALL, 0, 3000)
    projector = Projector(SMALL, SMALL_GRID)
    whole = projector.forward(image, det0, det1)
    bins = range(-SMALL.tof_half_bins, SMALL.tof_half_bins + 1)
    total = sum(projector.forward(image, det0, det1, np.full(len(det0), t, np.int32)) for t in bins)
    crossing = whole > 0.01 * whole.max()
    np.testing.assert_allclose(total[crossing], whole[crossing], rtol=1e-3)


def test_a_tof_bin_sees_the_side_it_points_to():
    x, _, _ = axes_mm(SMALL_GRID)
    right = np.broadcast_to((x > 0).astype(float), SMALL_GRID.shape).copy()
    projector = Projector(SMALL, SMALL_GRID)
    det0, det1 = np.array([2 * 46 + 22, 2 * 46]), np.array([2 * 46, 2 * 46 + 22])  # -x to +x and back
    seen = projector.forward(right, np.repeat(det0, 2), np.repeat(det1, 2), np.array([2, -2, 2, -2], np.int32))
    assert seen[0] > 10 * seen[1] and seen[3] > 10 * seen[2]


def test_the_tof_kernel_is_a_gaussian_over_the_bin():
    projector, at = Projector(SMALL, SMALL_GRID), np.arange(0, 60, 0.5)
    table = projector._table
    ours = np.interp(at, np.arange(table.size) * 0.125, table)
    reach = SMALL.tof_bin_mm / 2 + 3 * SMALL.tof_sigma_mm
    near = at < reach - 0.25
    np.testing.assert_allclose(ours[near], tof_weight(at, SMALL)[near], rtol=3e-3)
    assert table[-1] == 0


def test_em_back_divides_by_forward_plus_additive():
    rng = np.random.default_rng(5)
    det0, det1, tof = any_lors(SMALL, 5000, rng)
    image = rng.random(SMALL_GRID.shape).astype(np.float32)
    additive = rng.uniform(0.5, 2, len(det0)).astype(np.float32)
    projector = Projector(SMALL, SMALL_GRID)
    expected = projector.forward(image, det0, det1, tof) + additive
    plain = projector.back((1 / expected).astype(np.float32), det0, det1, tof)
    fused = projector.em_back(image, events_of(det0, det1, tof), additive)
    np.testing.assert_allclose(fused, plain, rtol=1e-4, atol=1e-5 * plain.max())


def test_em_back_leaves_out_events_that_cannot_be():
    det0, det1 = sample_lors(SMALL, 0, 100)
    events = events_of(det0, det1, np.zeros(100, np.int32))
    out = Projector(SMALL, SMALL_GRID).em_back(
        np.zeros(SMALL_GRID.shape, np.float32), events, np.zeros(100, np.float32)
    )
    assert not out.any()


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_the_number_of_threads_changes_no_bit(threads):
    rng = np.random.default_rng(6)
    det0, det1, tof = any_lors(SMALL, 4001, rng)
    image, values = rng.random(SMALL_GRID.shape).astype(np.float32), rng.random(4001).astype(np.float32)
    one, many = Projector(SMALL, SMALL_GRID), Projector(SMALL, SMALL_GRID, threads)
    assert np.array_equal(one.forward(image, det0, det1, tof), many.forward(image, det0, det1, tof))
    assert np.array_equal(one.back(values, det0, det1, tof), many.back(values, det0, det1, tof))
    events = events_of(det0, det1, tof)
    assert np.array_equal(one.em_back(image, events, values), many.em_back(image, events, values))


def test_fewer_events_than_parts_are_enough():
    det0, det1 = sample_lors(SMALL, 0, 1)
    projector = Projector(SMALL, SMALL_GRID)
    assert projector.forward(np.ones(SMALL_GRID.shape, np.float32), det0, det1).shape == (1,)
    none = np.zeros(0, np.int64)
    assert not projector.back(np.zeros(0, np.float32), none, none).any()


def test_an_image_of_another_grid_is_refused():
    with pytest.raises(ValueError, match=r"expected an image of shape \(24, 22, 10\), got \(22, 24, 10\)"):
        Projector(SMALL, SMALL_GRID).forward(np.zeros((22, 24, 10)), np.array([0]), np.array([23]))
