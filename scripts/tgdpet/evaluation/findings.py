"""The paper's findings, found again or not: a row a claim, with effect, 95 % interval and whether
it holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..config.sections import NetworkEntry
from ..runtime.seeds import numpy_generator
from .bootstrap import Interval, Seed, interval
from .paper_claims import TGD_NET, V1_NET, Claim, both_roles, change, claims
from .seed_runs import Missing, SeedRun, read_table

COLUMNS = [
    "finding", "claim", "measure", "effect", "unit", "claimed", "low", "high", "seeds", "studies", "realisations",
    "holds", "paper", "note",
]  # fmt: skip
STANDING = [
    "network",
    "kind",
    "old",
    "old_low",
    "old_high",
    "new",
    "new_low",
    "new_high",
    "seeds",
    "realisations",
]
HOLDS = ("yes", "no", "unclear")
SIDES = {-1: "below 0", 1: "above 0"}
FEW_SEEDS = 5
TITLES = {
    1: "v1-net over-smooths v2 images",
    2: "TGD-net: lesion bias and noise, low BMI",
    3: "Speckle in the high-BMI liver",
    4: "Kernels dropped",
    5: "Organs unlike any in training",
    6: "Old task and new task",
    7: "Time saved",
}


def findings(runs: Sequence[SeedRun]) -> tuple[pd.DataFrame, list[str]]:
    """The table of findings (COLUMNS), and a line for every claim that cannot be judged, or not in
    every run.

    Raises ValueError, naming the claim, when an effect is not a finite number.
    """
    rows, gaps = [], []
    for claim in claims(runs[0].config):
        seeds, why = _collect(claim, runs)
        gaps += why
        if seeds:
            rows.append(_row(claim, seeds, runs))
    return pd.DataFrame(rows, columns=COLUMNS), gaps


def standing(runs: Sequence[SeedRun]) -> tuple[pd.DataFrame, list[str]]:
    """Old task against new: errors (RMSE) on v1 and v2 images of every network, as change in % of
    the v1-net's.

    Columns STANDING with 95 % intervals; the base comes first, at 0. Also a line for every network
    without a row.
    """
    zero = [0.0] * 6
    rows, gaps = [[V1_NET, "base", *zero, len(runs), 0]], []
    for network, entry in runs[0].config.networks.items():
        if network == V1_NET or entry.data == "n2n":
            continue
        parts: list[float] = []
        for protocol in ("v1", "v2"):
            text = f"error on {protocol} images, {network} over {V1_NET}"
            claim = Claim(6, "", text, "%", -1, both_roles(protocol, network, V1_NET), change)
            seeds, why = _collect(claim, runs)
            gaps += why
            if seeds:
                parts += _interval(claim, seeds, runs)
        if len(parts) == 6:
            rows.append([network, kind(network, entry), *parts, len(seeds), _count(seeds)[1]])
    return pd.DataFrame(rows, columns=STANDING), gaps


def kind(network: str, entry: NetworkEntry) -> str:
    """What a network is an example of, for colours and tables."""
    if network == TGD_NET:
        return "TGD"
    if entry.method == "train":
        return "from scratch on v2"
    if entry.method == "tgd":
        return "TGD, other kernels or flow"
    return "old data" if entry.replay else "fine-tuning" if entry.penalty == "none" else "penalty"


def holds(side: int, low: float, high: float) -> str:
    """Whether the interval lies on the claimed side of zero (yes), on the other one (no), or holds
    zero (unclear).

    An interval that ends at zero holds it; without an interval nothing is clear.
    """
    if math.isnan(low) or math.isnan(high) or low <= 0 <= high:
        return "unclear"
    return "yes" if (low > 0) == (side > 0) else "no"


def read(path: Path) -> pd.DataFrame:
    """Read a table of findings; ValueError naming the file for a missing column, a word or number
    that cannot be.
    """
    table = read_table(path, [c for c in COLUMNS if c not in ("low", "high", "paper", "note")])
    for column in ("low", "high", "paper", "note"):
        if column not in table:
            raise ValueError(f"{path}: column {column!r} is missing; expected {', '.join(COLUMNS)}")
    for column, allowed in (("holds", HOLDS), ("claimed", SIDES.values()), ("finding", TITLES)):
        if unknown := sorted(set(table[column]) - set(allowed)):
            raise ValueError(
                f"{path}: column {column!r}: {unknown[0]!r} is none of {', '.join(map(str, allowed))}"
            )
    return table.fillna({"note": ""})


def _collect(claim: Claim, runs: Sequence[SeedRun]) -> tuple[list[Seed], list[str]]:
    seeds, gaps = [], []
    for run in runs:
        try:
            seeds.append(claim.values(run))
        except Missing as why:
            gaps.append(
                f"finding {claim.finding} ({claim.measure}) cannot be judged in {run.root}: {why}"
            )
    return seeds, gaps


def _interval(claim: Claim, seeds: Sequence[Seed], runs: Sequence[SeedRun]) -> Interval:
    """With the same resampled realisations for every claim on the same images: comparisons agree
    with one another.
    """
    generator = numpy_generator(runs[0].config.seed, "findings")
    try:
        with np.errstate(divide="ignore", invalid="ignore"):
            return interval(seeds, claim.statistic, generator)
    except ValueError as error:
        raise ValueError(f"finding {claim.finding} ({claim.measure}): {error}") from error


def _row(claim: Claim, seeds: Sequence[Seed], runs: Sequence[SeedRun]) -> list[object]:
    effect, low, high = _interval(claim, seeds, runs)
    studies, images = _count(seeds)
    means = np.mean(
        [study.mean(axis=0) for seed in seeds for group in seed for study in group], axis=0
    )
    note = "; ".join(filter(None, (claim.words(means), _caution(seeds, math.isnan(low)))))
    return [
        claim.finding, claim.claim, claim.measure, effect, claim.unit, SIDES[claim.side], low, high, len(seeds),
        studies, images, holds(claim.side, low, high), claim.paper, note,
    ]  # fmt: skip


def _count(seeds: Sequence[Seed]) -> tuple[int, int]:
    """Studies and images, of all seeds together."""
    studies = [study for seed in seeds for group in seed for study in group]
    return len(studies), sum(map(len, studies))


def _caution(seeds: Sequence[Seed], without: bool) -> str:
    """What an interval does not cover, in plain words."""
    if without:
        return "measured once: no interval"
    if len(seeds) == 1:
        what = (
            "test studies and noise"
            if any(len(group) > 1 for group in seeds[0])
            else "noise realisations only"
        )
        single = any(len(group) == len(group[0]) == 1 for group in seeds[0])
        more = "; the study with a single image adds nothing to it" if single else ""
        return f"one seed: the interval covers {what}, not other bodies or trainings{more}"
    return f"{len(seeds)} seeds are few: the interval is rough" if len(seeds) < FEW_SEEDS else ""
