"""Subsampling: binomial counts, exact partitions, halves of the very sample, the same in any
chunking.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tgdpet.config.roles import ROLES, Sample, nominal_s, samples_of
from tgdpet.config.sections import Sampling
from tgdpet.listmode import study_folder, subsample
from tgdpet.listmode.subsample import keep
from tgdpet.runtime.seeds import derive

N = 400_000
SAMPLING = Sampling()
SCAN_S = 600.0


def of_role(role: str) -> dict[str, Sample]:
    return {s.name: s for s in samples_of(role, SAMPLING, SCAN_S)}


def drawn(sample: Sample, n: int = N, seed: int = 1, study: str = "a") -> np.ndarray:
    return keep(sample, 0, n, seed, study)


@pytest.mark.parametrize("role", sorted(ROLES))
def test_each_role_has_the_images_it_is_evaluated_on(role: str) -> None:
    levels = ["30s", "45s", "60s", "90s", "120s", "180s", "600s"]
    realisations = [f"real{i:02d}" for i in range(1, 11)]
    expected = {
        "train_v1v2": levels,
        "adapt": levels,
        "test_high_bmi": ["60s", "600s"],
        "test_lesion": [*realisations, "600s"],
        "test_bladder": ["120s", "half1", "half2", "600s"],
        "test_catheter": ["120s", "half1", "half2", "600s"],
    }

    assert list(of_role(role)) == expected[role]


@pytest.mark.parametrize("role", sorted(ROLES))
def test_counts_are_binomial(role: str) -> None:
    for sample in of_role(role).values():
        share = sample.fraction
        assert abs(drawn(sample).sum() - N * share) <= 4 * np.sqrt(N * share * (1 - share))

        blocks = drawn(sample).reshape(400, -1).sum(axis=1)  # and so is every part of the scan
        size = N / 400

        if share < 1:
            assert blocks.var() == pytest.approx(size * share * (1 - share), rel=0.35)


@pytest.mark.parametrize("role", sorted(ROLES))
def test_fractions_are_the_durations(role: str) -> None:
    for sample in of_role(role).values():
        if sample.name.endswith("s"):
            assert sample.fraction * SCAN_S == pytest.approx(float(sample.name[:-1]))
    assert of_role("test_bladder")["half1"].fraction * SCAN_S == pytest.approx(60)
    assert of_role("test_lesion")["real03"].fraction * SCAN_S == pytest.approx(60)


def test_the_whole_scan_is_every_event() -> None:
    assert drawn(of_role("adapt")["600s"]).all()


def test_realisations_lose_and_repeat_no_event() -> None:
    parts = np.array(
        [drawn(s) for name, s in of_role("test_lesion").items() if name.startswith("real")]
    )
    assert len(parts) == 10 and (parts.sum(axis=0) == 1).all()


def test_halves_are_a_partition_of_the_120_s_sample() -> None:
    samples = of_role("test_catheter")
    whole, first, second = (drawn(samples[k]) for k in ("120s", "half1", "half2"))
    assert not (first & second).any()
    assert np.array_equal(first | second, whole)


def test_levels_are_independent_of_each_other() -> None:
    samples = of_role("adapt")
    for a, b in (("30s", "180s"), ("60s", "90s"), ("120s", "180s")):
        p, q = samples[a].fraction, samples[b].fraction
        both = (drawn(samples[a]) & drawn(samples[b])).sum()
        assert abs(both - N * p * q) < 4 * np.sqrt(N * p * q * (1 - p * q))


def test_neighbouring_events_are_independent() -> None:
    kept = drawn(Sample("x", 0.3)).astype(float) - 0.3
    for lag in (1, 2, 3, 64, 1 << 16):
        correlation = (kept[lag:] * kept[:-lag]).mean() / kept.var()
        assert abs(correlation) < 4 / np.sqrt(N - lag)


def test_studies_and_seeds_draw_differently() -> None:
    sample = Sample("x", 0.5)
    first = drawn(sample, 10_000)
    for other in (drawn(sample, 10_000, study="b"), drawn(sample, 10_000, seed=2)):
        assert 0.45 < (first == other).mean() < 0.55


@pytest.mark.parametrize("chunk", [1, 77, 4096])
def test_chunking_changes_nothing(chunk: int) -> None:
    sample = of_role("test_bladder")["half2"]
    n = 5000
    parts = [keep(sample, start, min(chunk, n - start), 1, "a") for start in range(0, n, chunk)]

    assert np.array_equal(np.concatenate(parts), drawn(sample, n))

    samples = samples_of("test_bladder", SAMPLING, SCAN_S)

    for threads in (1, 3):
        counts = subsample.count_events(samples, n, 1, "a", threads, chunk)
        assert counts == {s.name: int(drawn(s, n).sum()) for s in samples}

    numbers = [np.arange(n), np.linspace(0, 1, n)]
    for sample in samples:
        kept = drawn(sample, n)
        for ours, array in zip(subsample.taken(kept, numbers, chunk), numbers, strict=True):
            assert np.array_equal(ours, array[kept])


def test_taken_arrays_have_one_length() -> None:
    with pytest.raises(ValueError, match="arrays of one length expected, got 3 and 4"):
        subsample.taken(np.ones(3, np.bool_), [np.zeros(3), np.zeros(4)])
    assert [len(a) for a in subsample.taken(np.zeros(0, np.bool_), [np.zeros(0)])] == [0]


def test_what_any_sample_takes_is_all_of_them_together() -> None:
    halves = [Sample("half1", 0.2, 0, 2), Sample("half2", 0.2, 1, 2)]
    either = drawn(halves[0]) | drawn(halves[1])

    assert np.array_equal(subsample.in_any(halves, N, 1, "a"), either)
    assert np.array_equal(either, drawn(Sample("whole", 0.2)))
    assert subsample.in_any([*halves, Sample("600s", 1.0)], N, 1, "a").all()


def test_an_event_keeps_its_fate_in_a_longer_list() -> None:
    sample = Sample("x", 0.2, 1, 2)
    assert np.array_equal(drawn(sample, 1000), drawn(sample, 2000)[:1000])
    assert keep(sample, (1 << 40) + 5, 100, 1, "a").size == 100, "event numbers beyond 32 bits"


def splitmix64(key: int, index: int) -> float:
    """The reference generator (Steele, Lea, Flood 2014) in unlimited integers; in [0, 1)."""
    mask = 2**64 - 1

    z = (key + (index + 1) * 0x9E3779B97F4A7C15) & mask
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask

    return ((z ^ (z >> 31)) >> 11) / 2**53


@pytest.mark.parametrize("start", [0, 2**33])
def test_who_is_drawn_never_changes(start: int) -> None:
    thin = derive(2021, "subsample", "x", "thin", "0.200000000")
    split = derive(2021, "subsample", "x", "split", 2)
    half = of_role("test_bladder")["half2"]

    expected = []
    for i in range(start, start + 500):
        in_level = splitmix64(thin, i) < 0.2
        in_part = int(2 * splitmix64(split, i)) == 1
        expected.append(in_level and in_part)

    assert keep(half, start, 500, 2021, "x").tolist() == expected

    kept = drawn(of_role("adapt")["30s"], 100, seed=2021, study="lesion")
    assert np.flatnonzero(kept)[:5].tolist() == [4, 11, 32, 33, 54]


def test_wrong_counts_are_refused() -> None:
    samples = samples_of("test_lesion", SAMPLING, SCAN_S)
    counts = subsample.count_events(samples, N, 1, "a")
    subsample.check_counts(samples, counts, N)

    with pytest.raises(ValueError, match="real04: expected 40000"):
        subsample.check_counts(samples, {**counts, "real04": counts["real04"] + 2000}, N)

    with pytest.raises(ValueError, match=f"hold {N - 1} events, the study {N}"):
        subsample.check_counts(samples, {**counts, "real04": counts["real04"] - 1}, N)


def test_the_recipe_round_trips(tmp_path: Path) -> None:
    samples = samples_of("test_bladder", SAMPLING, SCAN_S)
    counts = subsample.count_events(samples, 1000, 1, "a")
    study_folder.write_samples(tmp_path / "samples.json", "a", 1, samples, counts)
    assert study_folder.read_samples(tmp_path / "samples.json") == ("a", 1, samples)


def test_a_scan_has_the_expected_duration_within_a_percent() -> None:
    assert nominal_s(601.2, 600.0, "x") == 600.0 and nominal_s(601.2, None, "x") == 601.2
    with pytest.raises(
        ValueError, match=r"x: the scan lasts 480 s; expected simulation.scan_s = 600 s"
    ):
        nominal_s(480.0, 600.0, "x")
