"""How the projector does its work changes no result: threads, order of events, the border."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from small_scanner import (
    LONG,
    LONG_GRID,
    SMALL,
    SMALL_GRID,
    any_lors,
    events_mm,
    events_of,
    some_lors,
)
from tgdpet.config.sections import Grid
from tgdpet.recon import projector_cpu as projector
from tgdpet.recon.joseph import CROSSINGS_AT_ONCE, _scratch
from tgdpet.recon.lines import crossing, line_of
from tgdpet.recon.locality import locality_order
from tgdpet.recon.projector_cpu import EVENTS_PER_PART, Projector

CASES = [(SMALL, SMALL_GRID), (LONG, LONG_GRID)]


@pytest.mark.parametrize("threads", [2, 3, 7])
@pytest.mark.parametrize("many_events", [10_000, 1 << 30])
def test_the_number_of_threads_changes_no_bit(threads, many_events, monkeypatch):
    monkeypatch.setattr(projector, "MANY_EVENTS", many_events)
    rng = np.random.default_rng(6)
    n = 3 * EVENTS_PER_PART + 1
    det0, det1, tof = any_lors(SMALL, n, rng)
    image = rng.random(SMALL_GRID.shape).astype(np.float32)
    values = rng.random(n).astype(np.float32)

    one = Projector(SMALL, SMALL_GRID)
    many = Projector(SMALL, SMALL_GRID, threads)

    assert np.array_equal(one.forward(image, det0, det1, tof), many.forward(image, det0, det1, tof))
    assert np.array_equal(one.back(values, det0, det1, tof), many.back(values, det0, det1, tof))

    events = events_of(det0, det1, tof)
    assert np.array_equal(one.em_back(image, events, values), many.em_back(image, events, values))


def test_calls_at_the_same_time_and_one_after_the_other_do_not_mix():
    rng = np.random.default_rng(11)
    pair = Projector(SMALL, SMALL_GRID)
    det0, det1, tof = any_lors(SMALL, 100_000, rng)
    given = [rng.random(len(det0), dtype=np.float32) for _ in range(8)]
    expected = [Projector(SMALL, SMALL_GRID).back(values, det0, det1, tof) for values in given]

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda values: pair.back(values, det0, det1, tof), given))

    assert all(np.array_equal(a, b) for a, b in zip(together, expected, strict=True))
    assert np.array_equal(pair.back(given[0], det0, det1, tof), expected[0])


@pytest.mark.parametrize("use_tof", [False, True])
def test_locality_order_brings_neighbouring_events_together(use_tof):
    scanner = dataclasses.replace(SMALL, rings=40, max_ring_difference=39)
    grid = Grid([80, 84, 100], [2.0, 2.0, 3.0])
    events = events_of(*any_lors(scanner, 50_000, np.random.default_rng(7)))
    order = locality_order(events, scanner, grid, use_tof)

    assert np.array_equal(np.sort(order), np.arange(len(events)))

    if not use_tof:
        events["tof"] = 0

    position_mm = events_mm(scanner, events)
    inside = (np.abs(position_mm) < np.array([80, 84, 150])).all(axis=1)

    def jump_mm(positions: np.ndarray) -> float:
        """Median distance from one to the next."""
        return float(np.median(np.linalg.norm(np.diff(positions, axis=0), axis=1)))

    ordered = position_mm[order][inside[order]]
    assert jump_mm(ordered) < 0.15 * jump_mm(position_mm[inside])


def test_locality_order_changes_results_by_rounding_only_and_keeps_ties():
    rng = np.random.default_rng(8)
    events = events_of(*any_lors(SMALL, 20_000, rng))
    image = rng.random(SMALL_GRID.shape).astype(np.float32)
    additive = rng.uniform(1, 2, 20_000).astype(np.float32)

    pair = Projector(SMALL, SMALL_GRID)
    order = locality_order(events, SMALL, SMALL_GRID)
    plain = pair.em_back(image, events, additive)
    ordered = pair.em_back(image, events[order], additive[order])

    np.testing.assert_allclose(ordered, plain, rtol=1e-4, atol=1e-6 * plain.max())
    assert np.array_equal(locality_order(np.repeat(events[:1], 9), SMALL, SMALL_GRID), np.arange(9))


@dataclasses.dataclass(frozen=True)
class Points:
    """Detectors anywhere: only what a projector asks of a scanner."""

    at_mm: np.ndarray
    tof_sigma_mm, tof_bin_mm, tof_step_mm, tof_half_bins = 20.0, 10.0, 10.0, 9

    def detector_mm(self) -> np.ndarray:
        return self.at_mm

    @property
    def n_detectors(self) -> int:
        return len(self.at_mm)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_lines_along_an_axis_meet_only_what_lies_on_them(axis):
    grid = Grid([6, 7, 8], [3.0, 2.0, 4.0])
    across = [a for a in range(3) if a != axis]
    extent = np.array(grid.shape) * grid.voxel_mm
    ends = np.zeros((8, 3), np.float32)
    ends[0::2, axis] = -100
    ends[1::2, axis] = 100

    shares = np.array([(0.0, 0.0), (0.7, 0.0), (0.0, -0.7), (-0.7, 0.7)])  # of the extent
    ends[:, across] = np.repeat(shares * extent[across], 2, axis=0)

    pair = Projector(Points(ends), grid)
    det0 = np.arange(0, 8, 2)
    det1 = np.arange(1, 8, 2)
    seen = pair.forward(np.ones(grid.shape), det0, det1)

    np.testing.assert_allclose(seen, [extent[axis], 0, 0, 0], rtol=1e-6)
    assert pair.back(np.ones(4), det0, det1).sum() == pytest.approx(extent[axis])


@pytest.mark.parametrize("most", range(3, 40))
def test_scratch_arrays_have_room_for_whole_blocks(most):
    crossings = most - 2  # of a line along the longest side, without the border
    whole = -(-crossings // CROSSINGS_AT_ONCE) * CROSSINGS_AT_ONCE
    _, _, *of_crossings = _scratch.py_func((2, most, 3))
    assert all(len(array) >= whole for array in of_crossings)


def test_crossings_stay_within_the_padded_image():
    # lines that leave through the far edge of the border exactly at a plane, and a little before
    # and behind it
    rng = np.random.default_rng(10)
    n = 31
    half_mm = 15.5
    shape = (n + 2, n + 2, n + 2)
    voxel_mm = np.ones(3)
    size = np.prod(shape)

    crossings = 0
    for number in range(600):
        slope = rng.uniform(-1, 1, 2)
        plane = rng.integers(0, n) - (n - 1) / 2
        edge = rng.choice([-1, 1], 2) * (half_mm + 0.5) + rng.choice([0, 1e-6, -1e-6], 2)
        at = np.array([(x, *(edge + slope * (x - plane))) for x in (-200.0, 200.0)])
        at = np.roll(at, number, axis=1)
        line = line_of(shape, voxel_mm, at, 0, 1, 0.0, 1e9)

        for m in range(line.n):
            index, fu, fv, _ = crossing(line, m, 0.0)
            i, j, k = np.unravel_index(int(index), shape)
            assert 0 <= fu < 1 and 0 <= fv < 1 and max(i, j, k) <= n + 1

            low = int(index)
            high = low + line.stride_u + line.stride_v
            steps = np.abs(np.subtract(np.unravel_index(high, shape), np.unravel_index(low, shape)))

            assert high < size and steps.max() == 1, "the next voxels lie beyond the border"

            crossings += 1

    assert crossings > 3000


def test_a_detector_with_itself_is_no_line():
    same = np.array([5, 7])
    image = np.ones(SMALL_GRID.shape)
    pair = Projector(SMALL, SMALL_GRID)

    assert not pair.forward(image, same, same).any()
    assert not pair.back(np.ones(2), same, same, np.zeros(2, np.int32)).any()
    assert locality_order(events_of(same, same, np.zeros(2, np.int32)), SMALL, SMALL_GRID).size == 2


def test_fewer_events_than_parts_are_enough():
    det0, det1 = some_lors(SMALL, 1)
    pair = Projector(SMALL, SMALL_GRID)
    assert pair.forward(np.ones(SMALL_GRID.shape, np.float32), det0, det1).shape == (1,)
    none = np.zeros(0, np.int64)
    assert not pair.back(np.zeros(0, np.float32), none, none).any()


def test_an_image_of_another_grid_is_refused():
    with pytest.raises(
        ValueError, match=r"expected an image of shape \(24, 22, 10\), got \(22, 24, 10\)"
    ):
        Projector(SMALL, SMALL_GRID).forward(np.zeros((22, 24, 10)), np.array([0]), np.array([23]))
