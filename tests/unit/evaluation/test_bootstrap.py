"""Intervals cover what is true as often as they say, are paired, and rest on what was repeated."""

import numpy as np
import pytest
from scipy.special import gamma

from tgdpet.evaluation.bootstrap import (
    RESAMPLES,
    Seed,
    cov_values,
    expanded_tail,
    interval,
    repeats,
    resample,
)
from tgdpet.evaluation.effects import change, difference
from tgdpet.evaluation.measures import ensemble_cov

TRIALS = 1000
DRAWS = 1500


def coverage(truth: float, trials: list[list[Seed]]) -> float:
    generator = np.random.default_rng(7)
    found = [interval(seeds, difference, generator, DRAWS) for seeds in trials]
    return float(np.mean([low <= truth <= high for _, low, high in found]))


def test_a_paired_difference_of_means_is_covered_as_often_as_said() -> None:
    """Ten realisations with a common part, as of two networks' lesion biases in the same noise."""
    generator = np.random.default_rng(1)
    common = generator.normal(0, 3, (TRIALS, 10, 1))
    values = common + generator.normal((-4.0, -5.5), (1.0, 1.5), (TRIALS, 10, 2))
    assert 0.93 <= coverage(1.5, [[[[v]]] for v in values]) <= 0.97


def test_a_paired_difference_of_cov_is_covered_as_often_as_said() -> None:
    """The truth is what ten realisations show on average: the SD of normal values, times c4."""
    generator = np.random.default_rng(2)
    n, voxels, sds = 10, 25, (8.0, 6.5)
    c4 = float(np.sqrt(2 / (n - 1)) * gamma(n / 2) / gamma((n - 1) / 2))
    trials: list[list[Seed]] = []
    for _ in range(TRIALS):
        common, own = generator.normal(size=(n, voxels)), generator.normal(size=(2, n, voxels))
        images = [100 + sd * (0.8 * common + 0.6 * o) for sd, o in zip(sds, own, strict=True)]
        trials.append([[[np.stack([cov_values(i) for i in images], axis=1)]]])
    assert 0.93 <= coverage(c4 * (sds[0] - sds[1]), trials) <= 0.97


def test_seeds_and_realisations_together_cover_at_least_as_often_as_said() -> None:
    generator = np.random.default_rng(3)
    trials: list[list[Seed]] = []
    for _ in range(300):
        between = generator.normal((2.0, 0.0), 1.0, (8, 1, 2))
        trials.append([[[seed]] for seed in between + generator.normal(0, 0.7, (8, 6, 2))])
    assert 0.93 <= coverage(2.0, trials) <= 0.99


def test_pairing_narrows_the_interval() -> None:
    generator = np.random.default_rng(4)
    common = generator.normal(0, 5, 10)
    paired = np.stack(
        [common + generator.normal(1, 0.3, 10), common + generator.normal(0, 0.3, 10)], axis=1
    )
    unpaired = np.stack([paired[:, 0], np.roll(paired[:, 1], 5)], axis=1)
    one, two = (interval([[[v]]], difference, np.random.default_rng(0)) for v in (paired, unpaired))
    assert one.effect == pytest.approx(two.effect)
    assert one.high - one.low < 0.3 * (two.high - two.low)
    assert one.low > 0 > two.low


def test_the_same_generator_gives_the_same_interval() -> None:
    values = np.random.default_rng(5).normal(size=(10, 2))
    one, two = (interval([[[values]]] * 5, difference, np.random.default_rng(9)) for _ in range(2))
    assert one == two and RESAMPLES == 10_000


def test_means_are_taken_level_by_level_and_the_statistic_of_a_seeds_means() -> None:
    """A study with one image weighs as much as one with ten; a ratio is that of the means, not a
    mean of ratios.
    """
    many, single = np.array([[2.0, 1.0]] * 9 + [[12.0, 1.0]]), np.array([[5.0, 3.0]])
    found = interval([[[many], [single]], [[many], [single]]], change, np.random.default_rng(0), 50)
    assert found.effect == pytest.approx(100 * ((3 + 5) / (1 + 3) - 1))
    assert interval(
        [[[many, single]]], difference, np.random.default_rng(0), 50
    ).effect == pytest.approx(2)


def test_a_few_seeds_with_the_same_effect_have_no_spread_but_that_of_their_realisations() -> None:
    seeds = [[[np.array([[1.0], [1.0]])]] for _ in range(3)]
    assert interval(seeds, lambda m: m[..., 0], np.random.default_rng(0)) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("seeds", "n"),
    [
        ([[[np.zeros((1, 1))]]], 1),
        ([[[np.zeros((10, 1))]]], 10),
        ([[[np.zeros((10, 1))], [np.zeros((1, 1))]]], 10),
        ([[[np.zeros((10, 1))], [np.zeros((1, 1))] * 3]], 3),
        ([[[np.zeros((10, 1))]]] * 5, 5),
    ],
)
def test_an_interval_rests_on_what_was_repeated(seeds: list[Seed], n: int) -> None:
    assert repeats(seeds) == n
    found = interval(seeds, lambda m: m[..., 0], np.random.default_rng(0), 50)
    assert np.isnan(found.low) == np.isnan(found.high) == (n == 1)


def test_tails_are_wider_for_few_values_and_plain_for_many() -> None:
    assert expanded_tail(10) == pytest.approx(0.00855, abs=1e-5)
    assert (
        expanded_tail(5)
        < expanded_tail(10)
        < expanded_tail(10_000)
        == pytest.approx(0.025, abs=1e-4)
    )


def test_cov_values_average_to_the_measure_and_their_spread_to_its_error() -> None:
    generator = np.random.default_rng(6)
    images = 50 + generator.normal(0, 4, (400, 10, 60))
    values = np.stack([cov_values(i) for i in images])
    expected = [ensemble_cov(i.reshape(10, 60, 1, 1), np.ones((60, 1, 1), bool)) for i in images]
    np.testing.assert_allclose(values.mean(axis=1), expected, rtol=1e-12)
    error = np.sqrt((values.var(axis=1, ddof=1) / 10).mean())
    assert error == pytest.approx(np.std(expected), rel=0.1)


def test_what_has_no_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 realisations for an interval, got 2"):
        cov_values(np.ones((2, 5)))
    with pytest.raises(ValueError, match="mean over the volume of interest is 0"):
        cov_values(np.zeros((4, 5)))
    with np.errstate(divide="ignore"), pytest.raises(ValueError, match="the effect is inf"):
        interval([[[np.array([[1.0, 0.0]])]]], change, np.random.default_rng(0))


def test_the_interval_of_confidence_one_minus_p_ends_at_zero() -> None:
    generator = np.random.default_rng(3)
    values = generator.normal(0.4, 1.0, (12, 2))
    resampled = resample([[[values]]], difference, generator)
    _, low, high = resampled.interval(1 - resampled.p_value())
    assert min(abs(low), abs(high)) < 1e-9 * (high - low)


def test_p_values_reject_what_is_true_as_often_as_said() -> None:
    generator = np.random.default_rng(5)
    p = []
    for _ in range(400):
        values = generator.normal(0, 1, (10, 2))
        p.append(resample([[[values]]], difference, generator, DRAWS).p_value())
    assert 0.03 < np.mean(np.array(p) < 0.05) < 0.08
