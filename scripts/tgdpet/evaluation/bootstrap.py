"""Intervals by bootstrap over seeds, studies and noise realisations.

Values lie in a nest: seeds > groups > studies > (R, P) arrays of P columns (two networks of a
comparison, say) for R realisations. A resampled realisation takes its whole row along, so that the
comparison is paired. Means over realisations, studies and groups are taken in turn; a statistic
turns a seed's P means into one number, and the effect is the mean of that over seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.floating]
Studies = Sequence[Floats]
Seed = Sequence[Studies]
Statistic = Callable[[Floats], Floats]

RESAMPLES = 10_000
CONFIDENCE = 0.95


class Interval(NamedTuple):
    """An effect and its interval; `low` and `high` are nan where nothing is repeated."""

    effect: float
    low: float
    high: float


@dataclass(frozen=True)
class Resampled:
    """An effect, and the effects (n,) of resampled seeds; none where nothing is repeated.

    `repeats` is how many independent values they rest on.
    """

    effect: float
    effects: Floats | None
    repeats: int

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """The effect with its interval: 95 % by percentiles, widened for few values.

        For another confidence its ends move out or in as Student's quantiles do: resamples of a few
        values have no tails to read it from.
        """
        if self.effects is None:
            return Interval(self.effect, float("nan"), float("nan"))

        tail = expanded_tail(self.repeats)
        low, high = np.quantile(self.effects, (tail, 1 - tail))

        freedom = self.repeats - 1
        t = stats.t.ppf((1 + confidence) / 2, freedom)
        wider = t / stats.t.ppf((1 + CONFIDENCE) / 2, freedom)
        to_low = wider * (self.effect - low)
        to_high = wider * (high - self.effect)
        return Interval(self.effect, float(self.effect - to_low), float(self.effect + to_high))

    def p_value(self) -> float:
        """The p at which the interval of confidence 1 - p ends at zero; nan without resamples."""
        if self.effects is None:
            return float("nan")

        _, low, high = self.interval()
        distance = self.effect - low if self.effect > 0 else high - self.effect
        if distance <= 0:
            return float(self.effect == 0)

        freedom = self.repeats - 1
        t = abs(self.effect) / distance * stats.t.ppf((1 + CONFIDENCE) / 2, freedom)
        return float(2 * stats.t.sf(t, freedom))


def resample(
    seeds: Sequence[Seed],
    statistic: Statistic,
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Resampled:
    """The effect and its bootstrap distribution.

    `statistic` maps (..., P) to (...). Seeds are drawn, then studies within a seed, then
    realisations within a study, each with replacement and only where there are several. Plain
    percentiles of n values miss the truth too often (10 % instead of 5 % at n = 10), so the tails
    are those at which normal values would have the coverage of Student's t: Phi(-sqrt(n / (n - 1))
    t) (Hesterberg, The American Statistician 69, 2015, section 4.2), n: the number of seeds, or
    with one seed what is repeated in it. Drawing at every level counts the realisations' spread
    twice when there are several seeds, so that such intervals are, if anything, too wide. Raises
    ValueError when the effect is not finite.
    """
    effects = [statistic(_means_of_seed(seed)) for seed in seeds]
    effect = float(np.mean(effects))

    if not np.isfinite(effect):
        raise ValueError(
            f"the effect is {effect}: a mean that it is divided by is 0, or a value is not finite"
        )

    n = repeats(seeds)

    if n < 2:
        return Resampled(effect, None, n)

    effects_resampled = _resample_seeds(seeds, statistic, resamples, generator)
    return Resampled(effect, effects_resampled, n)


def interval(
    seeds: Sequence[Seed],
    statistic: Statistic,
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Interval:
    """The effect with its 95 % bootstrap interval; see `resample`."""
    return resample(seeds, statistic, generator, resamples).interval()


def holm(p: Floats, share: float = 1 - CONFIDENCE) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Holm's step-down procedure (Scand. J. Statist. 6, 1979).

    The p-value (n,) below which each row is rejected, and whether it is.
    """
    n = len(p)
    order = np.argsort(p, kind="stable")
    rejected = np.zeros(n, bool)
    limits = np.full(n, share / max(n, 1))

    for rank, row in enumerate(order):
        limit = share / (n - rank)
        limits[order[rank:]] = limit

        if p[row] > limit:
            break

        rejected[row] = True

    return limits, rejected


def expanded_tail(n: int) -> float:
    """Share of the bootstrap distribution to leave out at either end, for a mean of `n` values."""
    freedom = n - 1
    t = stats.t.ppf((1 + CONFIDENCE) / 2, freedom)
    widening = np.sqrt(n / freedom)
    return float(stats.norm.cdf(-widening * t))


def repeats(seeds: Sequence[Seed]) -> int:
    """How many independent values an interval rests on.

    Seeds; or in a single seed its studies or realisations, the fewest of its groups.
    """
    if len(seeds) > 1:
        return len(seeds)

    counts = []

    for studies in seeds[0]:
        repeated = studies if len(studies) > 1 else studies[0]
        counts.append(len(repeated))

    return min([n for n in counts if n > 1], default=1)


def cov_values(realisations: Floats) -> Floats:
    """Values (R,) of the ensemble CoV (%) of R >= 3 realisations (R, V).

    Their mean is `measures.ensemble_cov`. They are the jackknife's pseudo-values R theta - (R - 1)
    theta_(-r), moved to the mean theta. Resampled realisations themselves would come twice, and a
    spread over equal images is too small; the pseudo-values' mean has no such bias. Raises
    ValueError for fewer realisations or a mean of 0.
    """
    n = len(realisations)

    if n < 3:
        raise ValueError(f"ensemble CoV: expected at least 3 realisations for an interval, got {n}")

    values = realisations.astype(np.float64)
    image_means = values.mean(axis=1)

    if not image_means.mean():
        raise ValueError("ensemble CoV: the mean over the volume of interest is 0")

    # theta, from all realisations.
    deviations = values - values.mean(axis=0)
    sum_of_squares = (deviations**2).sum(axis=0)
    sd = np.sqrt(sum_of_squares / (n - 1))
    theta = sd.mean() / image_means.mean() * 100

    # theta_(-r): the sum of squares about the mean of the others, without image r.
    squares_of_image = deviations**2 * n / (n - 1)
    squares_without = np.maximum(sum_of_squares - squares_of_image, 0)
    sd_without = np.sqrt(squares_without / (n - 2))
    sum_without = n * image_means.mean() - image_means
    mean_without = sum_without / (n - 1)
    theta_without = sd_without.mean(axis=1) / mean_without * 100

    pseudo_values = n * theta - (n - 1) * theta_without
    return np.asarray(pseudo_values - pseudo_values.mean() + theta)


def _means_of_seed(seed: Seed) -> Floats:
    """The P means of a seed, nothing resampled."""
    groups = []

    for studies in seed:
        study_means = [study.mean(axis=0) for study in studies]
        groups.append(np.mean(study_means, axis=0))

    return np.mean(groups, axis=0)


def _resample_seeds(
    seeds: Sequence[Seed], statistic: Statistic, n: int, generator: np.random.Generator
) -> Floats:
    """The effects (n,) of resampled seeds."""

    def effects_of(seed: Seed, count: int) -> Floats:
        groups = [_resample_studies(studies, count, generator) for studies in seed]
        return statistic(np.mean(groups, axis=0))

    members = [partial(effects_of, seed) for seed in seeds]
    return _resample_members(members, n, generator)


def _resample_studies(studies: Studies, n: int, generator: np.random.Generator) -> Floats:
    """The means (n, P) of a group's resampled studies."""

    def means_of(values: Floats, count: int) -> Floats:
        rows = len(values)
        equal = np.full(rows, 1 / rows)
        times_drawn = generator.multinomial(rows, equal, size=count)
        return np.asarray(times_drawn @ values / rows)

    members = [partial(means_of, values) for values in studies]
    return _resample_members(members, n, generator)


def _resample_members(
    members: Sequence[Callable[[int], Floats]], n: int, generator: np.random.Generator
) -> Floats:
    """`n` means over as many members as there are, drawn with replacement.

    A member that is drawn twice is resampled twice.
    """
    if len(members) == 1:
        return members[0](n)

    total: Floats | None = None

    for _ in members:
        chosen = generator.integers(len(members), size=n)

        for number, member in enumerate(members):
            rows = np.flatnonzero(chosen == number)
            resampled = member(len(rows))

            if total is None:
                shape = (n, *resampled.shape[1:])
                total = np.zeros(shape)

            total[rows] += resampled

    assert total is not None
    return total / len(members)
