"""What PETSIRD's blocks beside prompts mean for a study: honoured, counted, or refused in a
sentence.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

petsird = pytest.importorskip("petsird")

from petsird_files import GRID, block, header, prompts, read_all, turn, write
from tgdpet.constants import FDG_HALF_LIFE_S
from tgdpet.petsird.read import import_study, scan_times
from tgdpet.scanner import cylinder

EVENT = (12, 0, 2)


def imported(tmp_path, blocks, head=None):
    """`listmode.json` of a file with these blocks."""
    path = write(tmp_path / "x.petsird", head or header(), blocks)
    return import_study(path, tmp_path / "i", "s", GRID, attenuation=False)


def decayed(*spans, fraction=1.0):
    rate = math.log(2) / FDG_HALF_LIFE_S
    return fraction * sum((math.exp(-rate * a) - math.exp(-rate * b)) / rate for a, b in spans)


def interval(start, stop):
    return petsird.TimeInterval(start=start, stop=stop)


def dead_time(start, stop, singles=(), pairs=None):
    """A dead-time block for one module type."""
    fractions = petsird.AliveTimeFractions(
        singles_alive_time_fractions=[np.array(singles, np.float32)]
    )
    if pairs is not None:
        array = np.empty(1, object)
        array[0] = pairs
        fractions.module_pair_alive_time_fractions = [[array]]
    return petsird.TimeBlock.DeadTimeTimeBlock(
        petsird.DeadTimeTimeBlock(
            time_interval=interval(start, stop), alive_time_fractions=fractions
        )
    )


def bed(transform, start=0):
    return petsird.TimeBlock.BedMovementTimeBlock(
        petsird.BedMovementTimeBlock(time_interval=interval(start, start + 1), transform=transform)
    )


def gantry(*transforms):
    return petsird.TimeBlock.GantryMovementTimeBlock(
        petsird.GantryMovementTimeBlock(time_interval=interval(0, 1), transforms=list(transforms))
    )


def test_time_is_that_of_the_blocks_without_their_gaps(tmp_path):
    meta = imported(
        tmp_path, [block(0, 1000, EVENT), block(1000, 2000, EVENT), block(600_000, 700_000, EVENT)]
    )
    assert meta["scan_s"] == 102.0
    assert meta["effective_s"] == pytest.approx(decayed((0, 2), (600, 700)), rel=1e-12)
    assert meta["petsird"]["event_blocks"] == 3


@pytest.mark.parametrize(
    "spans",
    [
        [(0, 1000), (0, 1000), (500, 2000)],
        [(0, 2000), (500, 1000), (1500, 1800)],
        [(0, 1000), (1000, 2000)],
    ],
)
def test_blocks_that_overlap_count_their_time_once(tmp_path, spans):
    meta = imported(tmp_path, [block(*span, EVENT) for span in spans])
    assert (meta["scan_s"], meta["events"]) == (2.0, len(spans))


def test_blocks_without_duration_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match="expected time blocks that last, got none of more than 0 ms"
    ):
        imported(tmp_path, [block(5, 5, EVENT)])


def test_a_file_without_prompts_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected prompt events on pairs in coincidence, got 0"):
        imported(tmp_path, [block(0, 1000)])


def test_uniform_dead_time_shortens_the_effective_time(tmp_path):
    pairs = [[0.5] * (i + 1) for i in range(8)]
    blocks = [
        dead_time(0, 1000, [0.9] * 24),
        block(0, 1000, EVENT),
        dead_time(1000, 3000, [0.8] * 24, pairs),
        block(1000, 2000, EVENT),
        block(2000, 3000, EVENT),
    ]
    meta = imported(tmp_path, blocks)
    expected = decayed((0, 1), fraction=0.81) + decayed((1, 3), fraction=0.32)
    assert meta["effective_s"] == pytest.approx(expected, rel=1e-6)
    assert (meta["scan_s"], meta["petsird"]["dead_time_blocks"]) == (3.0, 2)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([dead_time(0, 2000, [0.9] * 12 + [0.8] * 12)], "differ between detectors .0.8 to 0.9."),
        ([dead_time(0, 2000, [], [[0.9], [0.9, 0.8]])], "differ between pairs of modules"),
        ([dead_time(0, 2000, [0.0] * 24)], "above 0 and at most 1, got 0 to 0"),
        ([dead_time(0, 2000, [np.nan] * 24)], "above 0 and at most 1, got nan"),
        ([dead_time(0, 2000, [1.5] * 24)], "above 0 and at most 1, got 1.5"),
        ([dead_time(0, 500, [0.9] * 24)], "cover 500 of 1000 ms of events"),
        (
            [dead_time(0, 900, [0.9] * 24), dead_time(800, 2000, [0.8] * 24)],
            "dead-time blocks overlap",
        ),
        (
            [bed(turn(0, 0)), bed(turn(0, 30.0), 500)],
            "the bed moves during the scan.*0, 30.0.*each position",
        ),
        ([bed(petsird.RigidTransformation())], "expected a rigid transformation"),
        ([gantry(turn(0, 0)), gantry(turn(0.1, 0))], "the gantry moves during the scan"),
        (
            [gantry(turn(0, 0), turn(0, 0))],
            "expected 1 gantry transforms, one a module type, got 2",
        ),
    ],
)
def test_what_cannot_be_honoured_is_refused(tmp_path, blocks, message):
    with pytest.raises(ValueError, match=rf"x\.petsird: .*{message}"):
        imported(tmp_path, [*blocks, block(0, 1000, EVENT)])


@pytest.mark.parametrize(("name", "depth"), [("triple_events", 2), ("quadruple_events", 3)])
def test_triples_and_quadruples_are_refused_where_there_are_any(tmp_path, name, depth):
    nested = [petsird.TripleEvent(detection_bins=[3, 2, 1], tof_indices=[0, 0])] * 7
    empty = []
    for _ in range(depth + 1):
        nested, empty = [nested], [empty]
    assert imported(tmp_path, [block(0, 1000, EVENT, **{name: empty})])["events"] == 1
    with pytest.raises(
        ValueError, match=rf"7 {name.replace('_', ' ')}; only coincidences of two are read"
    ):
        imported(tmp_path, [block(0, 1000, EVENT, **{name: nested})])


def test_a_bed_and_a_gantry_that_stay_are_kept(tmp_path):
    blocks = [
        bed(turn(0, 30.0)),
        gantry(turn(np.pi / 2, 7.0)),
        block(0, 1000, EVENT),
        bed(turn(0, 30.0), 900),
    ]
    plain = cylinder.read_scanner(
        (tmp_path / "0", imported(tmp_path / "0", [block(0, 1000, EVENT)]))[0] / "i/scanner.json"
    )
    meta = imported(tmp_path, blocks)
    assert meta["petsird"]["bed_transform"][2] == [0, 0, 1, 30]
    assert meta["not_used"] == {"bed position (images stay in the gantry's frame)": 1}
    device = cylinder.read_scanner(tmp_path / "i/scanner.json")
    assert device.axial_shift_mm == pytest.approx(plain.axial_shift_mm + 7.0, abs=1e-5)
    x, y, z = plain.detector_mm().T
    np.testing.assert_allclose(device.detector_mm(), np.stack([-y, x, z], axis=1), atol=1e-4)


def test_what_is_not_used_is_counted(tmp_path):
    singles = [
        [petsird.SingleEvent(detection_bin=i, time_offset_in_time_block=1 << 31) for i in range(5)]
    ]
    signal = petsird.ExternalSignalTimeBlock(
        time_interval=interval(0, 0), signal_id=4, signal_values=[1.0]
    )
    histogram = petsird.SinglesHistogramTimeBlock(
        time_interval=interval(0, 1000), singles_per_singles_unit_histogram=[[1, 1 << 40], []]
    )
    blocks = [
        petsird.TimeBlock.ExternalSignalTimeBlock(signal),
        petsird.TimeBlock.SinglesHistogramTimeBlock(histogram),
        block(0, 1000, EVENT, single_events=singles),
    ]
    meta = imported(tmp_path, blocks)
    assert meta["not_used"] == {
        "single events": 5,
        "singles histogram blocks": 1,
        "external signal blocks": 1,
    }
    assert read_all(tmp_path / "x.petsird")[1].others.histogram_counts == 1 + (1 << 40)


def test_events_on_pairs_without_efficiency_are_dropped_and_counted(tmp_path):
    head = header()
    efficiencies = np.ones(24)
    efficiencies[5] = 0
    head.scanner.detection_efficiencies = petsird.DetectionEfficiencies(
        calibration_factor=1.0,
        detection_bin_efficiencies=[efficiencies.tolist()],
        module_pair_sgidlut=[[[[-1 if i - j < 2 else 0 for j in range(i + 1)] for i in range(8)]]],
    )
    events = [(12, 0, 0), (5, 4, 0), (12, 5, 1), (4, 0, 2), (23, 1, 4), (3, 2, 0)]
    meta = imported(tmp_path, [block(0, 1000, *events)], head)
    kept = np.load(tmp_path / "i/events.npy")
    assert kept.tolist() == [(12, 0, -2), (23, 1, 2)]
    assert (meta["events"], meta["not_used"]) == (
        2,
        {"prompt events on pairs without efficiency": 4},
    )


def test_delayeds_give_the_randoms_rate_and_singles(tmp_path):
    rng = np.random.default_rng(2)
    singles = rng.uniform(0.5, 2, 24)
    at = np.arange(24) // 3
    i, j = np.nonzero(at[:, None] - at[None, :] >= 2)
    rate = 500 * singles[i] * singles[j]
    delayed = [
        (int(a), int(b), int(t))
        for a, b, n in zip(i, j, rng.poisson(rate), strict=True)
        for t in range(n)
    ]
    delayed = [(a, b, t % 5) for a, b, t in delayed]
    head = header()
    head.scanner.detection_efficiencies = petsird.DetectionEfficiencies(
        calibration_factor=1.0,
        module_pair_sgidlut=[[[[-1 if a - b < 2 else 0 for b in range(a + 1)] for a in range(8)]]],
    )
    meta = imported(tmp_path, [block(0, 10_000, EVENT, delayed_events=prompts(*delayed))], head)
    device = cylinder.read_scanner(tmp_path / "i/scanner.json")
    found = device.relative_singles()
    assert found.mean() == pytest.approx(1)
    np.testing.assert_allclose(found, singles / singles.mean(), rtol=0.06)
    per_s = meta["background"]["randoms_per_s"]
    assert per_s * found[12] * found[0] * 5 * 10 == pytest.approx(
        500 * singles[12] * singles[0], rel=0.06
    )
    assert per_s * device.random_cells(found) * meta["effective_s"] == pytest.approx(
        len(delayed), rel=1e-12
    )
    assert (meta["background"]["scatter_bq"], meta["petsird"]["delayed_events"]) == (
        0,
        len(delayed),
    )


def test_events_with_the_smaller_bin_first_are_read_as_they_stand(tmp_path):
    meta = imported(tmp_path, [block(0, 1000, (0, 12, 0), (12, 0, 0))])
    assert np.load(tmp_path / "i/events.npy").tolist() == [(0, 12, -2), (12, 0, -2)]
    assert meta["petsird"]["unordered_events"] == 1


def test_times_need_no_dead_time():
    assert scan_times("x", np.array([[0, 1000]]), [], 1e12) == pytest.approx((1.0, 1.0))


def test_what_is_refused_at_the_end_leaves_the_study_as_it_was(tmp_path):
    imported(tmp_path, [block(0, 1000, EVENT)])
    before = {path.name: path.read_bytes() for path in (tmp_path / "i").iterdir()}

    more = [block(0, 1000, EVENT, EVENT)]
    with pytest.raises(ValueError, match="cover 500 of 1000 ms"):
        imported(tmp_path, [dead_time(0, 500, [0.9] * 24), *more])
    assert {path.name: path.read_bytes() for path in (tmp_path / "i").iterdir()} == before

    (tmp_path / "x.background.npy").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"x\.background\.npy: not a readable background"):
        imported(tmp_path, more)
    assert {path.name: path.read_bytes() for path in (tmp_path / "i").iterdir()} == before
