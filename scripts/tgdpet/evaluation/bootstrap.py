"""Intervals by bootstrap over seeds, studies and noise realisations.

Values lie in a nest: seeds > groups > studies > (R, P) arrays of P columns (two networks of a
comparison, say) for R realisations. A resampled realisation takes its whole row along, so that the
comparison is paired. Means over realisations, studies and groups are taken in turn; a statistic
turns a seed's P means into one number, and the effect is the mean of that over seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def interval(seeds: Sequence[Seed], statistic: Statistic, generator: np.random.Generator,
             resamples: int = RESAMPLES) -> Interval:  # fmt: skip
    """The effect with its 95 % bootstrap interval: percentiles, moved outwards as few values ask
    for.

    `statistic` maps (..., P) to (...). Seeds are drawn, then studies within a seed, then
    realisations within a study, each with replacement and only where there are several. Plain
    percentiles of n values miss the truth too often (10 % instead of 5 % at n = 10), so the tails
    are those at which normal values would have the coverage of Student's t: Phi(-sqrt(n / (n - 1))
    t) (Hesterberg, The American Statistician 69, 2015, section 4.2), n: the number of seeds, or
    with one seed what is repeated in it. Drawing at every level counts the realisations' spread
    twice when there are several seeds, so that such intervals are, if anything, too wide. Raises
    ValueError when the effect is not finite.
    """
    effect = float(np.mean([statistic(_means(seed)) for seed in seeds]))
    if not np.isfinite(effect):
        raise ValueError(
            f"the effect is {effect}: a mean that it is divided by is 0, or a value is not finite"
        )
    n = repeats(seeds)
    if n < 2:
        return Interval(effect, float("nan"), float("nan"))
    drawn = _draw_seeds(seeds, statistic, resamples, generator)
    tail = expanded_tail(n)
    low, high = np.quantile(drawn, (tail, 1 - tail))
    return Interval(effect, float(low), float(high))


def expanded_tail(n: int, confidence: float = CONFIDENCE) -> float:
    """Share of the bootstrap distribution to leave out at either end, for a mean of `n` values."""
    quantile = stats.t.ppf((1 + confidence) / 2, n - 1)
    return float(stats.norm.cdf(-np.sqrt(n / (n - 1)) * quantile))


def repeats(seeds: Sequence[Seed]) -> int:
    """How many independent values an interval rests on: seeds, or in a single seed its studies or
    realisations.
    """
    if len(seeds) > 1:
        return len(seeds)
    counts = [len(studies) if len(studies) > 1 else len(studies[0]) for studies in seeds[0]]
    return min([n for n in counts if n > 1], default=1)


def cov_values(realisations: Floats) -> Floats:
    """Values (R,) of the ensemble CoV (%) of R >= 3 realisations (R, V): their mean is
    `measures.ensemble_cov`.

    Jackknife pseudo-values R theta - (R - 1) theta_(-r), moved to the mean theta. Resampled
    realisations themselves would come twice, and a spread over equal images is too small; the
    pseudo-values' mean has no such bias. Raises ValueError for fewer realisations or a mean of 0.
    """
    n = len(realisations)
    if n < 3:
        raise ValueError(f"ensemble CoV: expected at least 3 realisations for an interval, got {n}")
    values = realisations.astype(np.float64)
    means = values.mean(axis=1)
    if not means.mean():
        raise ValueError("ensemble CoV: the mean over the volume of interest is 0")
    off = values - values.mean(axis=0)
    squares = (off**2).sum(axis=0)
    theta = np.sqrt(squares / (n - 1)).mean() / means.mean() * 100
    # The sum of squares about the mean of the others, without image r.
    left = np.maximum(squares - off**2 * n / (n - 1), 0)
    without = np.sqrt(left / (n - 2)).mean(axis=1) / ((n * means.mean() - means) / (n - 1)) * 100
    pseudo = n * theta - (n - 1) * without
    return np.asarray(pseudo - pseudo.mean() + theta)


def _means(seed: Seed) -> Floats:
    """The P means of a seed, as they are."""
    return np.mean(
        [np.mean([study.mean(axis=0) for study in studies], axis=0) for studies in seed], axis=0
    )


def _draw_seeds(
    seeds: Sequence[Seed], statistic: Statistic, n: int, generator: np.random.Generator
) -> Floats:
    def one(seed: Seed, count: int) -> Floats:
        return statistic(
            np.mean([_draw_studies(studies, count, generator) for studies in seed], axis=0)
        )

    return _draw([partial(one, seed) for seed in seeds], n, generator)


def _draw_studies(studies: Studies, n: int, generator: np.random.Generator) -> Floats:
    def one(values: Floats, count: int) -> Floats:
        rows = len(values)
        times = generator.multinomial(rows, np.full(rows, 1 / rows), size=count)
        return np.asarray(times @ values / rows)

    return _draw([partial(one, values) for values in studies], n, generator)


def _draw(
    members: Sequence[Callable[[int], Floats]], n: int, generator: np.random.Generator
) -> Floats:
    """`n` means over as many members as there are, drawn with replacement; a member drawn twice is
    resampled twice.
    """
    if len(members) == 1:
        return members[0](n)
    total: Floats | None = None
    for _ in members:
        chosen = generator.integers(len(members), size=n)
        for number, member in enumerate(members):
            rows = np.flatnonzero(chosen == number)
            drawn = member(len(rows))
            if total is None:
                total = np.zeros((n, *drawn.shape[1:]))
            total[rows] += drawn
    assert total is not None
    return total / len(members)
