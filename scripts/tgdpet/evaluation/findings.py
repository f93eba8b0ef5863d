"""The paper's findings, reproduced or not: a row a claim, with its effect and 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..config.sections import NetworkEntry
from ..io.contents import NETWORK, CellKind, Number, Text, check_table
from ..runtime.seeds import numpy_generator
from .bootstrap import CONFIDENCE, Floats, Resampled, Seed, holm, resample
from .claim import Claim, both_roles
from .effects import change
from .paper_claims import TGD_NET, V1_NET, claims
from .seed_runs import Missing, SeedRun, read_table

HOLDS = ("yes", "no", "unclear")
SIDES = {-1: "below 0", 1: "above 0"}
_COUNT = Number(low=0, whole=True)
_MAY_LACK = Number(optional=True)
# The columns of a table of findings.
FINDINGS: dict[str, CellKind] = {
    "finding": Number(low=1, high=7, whole=True),
    "claim": Text(),
    "measure": Text(),
    "effect": Number(),
    "unit": Text(),
    "claimed": Text(choices=tuple(SIDES.values())),
    "low": _MAY_LACK,
    "high": _MAY_LACK,
    "confidence": Number(low=0.5, high=1),
    "seeds": _COUNT,
    "studies": _COUNT,
    "realisations": _COUNT,
    "holds": Text(choices=HOLDS),
    "paper": _MAY_LACK,
    "note": Text(optional=True),
}
# The columns of a table of errors on the old and the new task.
TASK_ERRORS: dict[str, CellKind] = {
    "network": Text(NETWORK),
    "kind": Text(),
    "old": Number(),
    "old_low": _MAY_LACK,
    "old_high": _MAY_LACK,
    "new": Number(),
    "new_low": _MAY_LACK,
    "new_high": _MAY_LACK,
    "seeds": _COUNT,
    "realisations": _COUNT,
}
FINDINGS_COLUMNS = list(FINDINGS)
TASK_ERROR_COLUMNS = list(TASK_ERRORS)
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


class Judged(NamedTuple):
    """A claim, the values of the runs that have them, and its resampled effects."""

    claim: Claim
    seeds: Sequence[Seed]
    resampled: Resampled


def findings(runs: Sequence[SeedRun]) -> tuple[pd.DataFrame, list[str]]:
    """The table of findings (FINDINGS_COLUMNS), and a line for every claim that cannot be judged.

    A claim that is judged in some runs only has a line for each other run. Raises ValueError,
    naming the claim, when an effect is not a finite number.
    """
    judged = []
    gaps: list[str] = []

    for claim in claims(runs[0].config):
        seeds, missing = _collect(claim, runs)
        gaps += missing

        if seeds:
            judged.append(Judged(claim, seeds, _resample(claim, seeds, runs)))

    confidences = _confidences(judged)
    rows = [_row(*item) for item in zip(judged, confidences, strict=True)]
    return pd.DataFrame(rows, columns=FINDINGS_COLUMNS), gaps


def task_errors(runs: Sequence[SeedRun]) -> tuple[pd.DataFrame, list[str]]:
    """Old task against new: every network's RMSE on v1 and v2 images, as change in % of v1-net's.

    Columns TASK_ERROR_COLUMNS with 95 % intervals; v1-net comes first, at 0. Also a line for every
    network without a row.
    """
    nothing_changed = [0.0] * 6
    rows = [[V1_NET, "base", *nothing_changed, len(runs), 0]]
    gaps: list[str] = []

    for network, entry in runs[0].config.networks.items():
        if network == V1_NET or entry.data == "n2n":
            continue

        changes: list[float] = []

        for protocol in ("v1", "v2"):
            claim = _error_change(network, protocol)
            seeds, missing = _collect(claim, runs)
            gaps += missing

            if seeds:
                changes += _resample(claim, seeds, runs).interval()

        if len(changes) == 6:
            _, images = _count(seeds)
            network_kind = kind(network, entry)
            rows.append([network, network_kind, *changes, len(seeds), images])

    return pd.DataFrame(rows, columns=TASK_ERROR_COLUMNS), gaps


def kind(network: str, entry: NetworkEntry) -> str:
    """What a network is an example of, for colours and tables."""
    if network == TGD_NET:
        return "TGD"

    if entry.method == "train":
        return "from scratch on v2"

    if entry.method == "tgd":
        return "TGD, other kernels or flow"

    if entry.replay:
        return "old data"

    return "fine-tuning" if entry.penalty == "none" else "penalty"


def holds(side: int, low: float, high: float) -> str:
    """Whether the interval lies on the claimed side of zero (yes), on the other (no), or on both.

    unclear: it holds zero, an end at zero included; without an interval nothing is clear.
    """
    if math.isnan(low) or math.isnan(high) or low <= 0 <= high:
        return "unclear"

    return "yes" if (low > 0) == (side > 0) else "no"


def read_findings(path: Path) -> pd.DataFrame:
    """Read a table of findings; one of before intervals had a `confidence` of their own, too.

    ValueError naming the file for a missing column, or a word or number that cannot be.
    """
    older = {name: kind for name, kind in FINDINGS.items() if name != "confidence"}
    table = read_table(path, older)

    if "confidence" not in table:
        table["confidence"] = CONFIDENCE
    check_table(table, FINDINGS, path)

    return table.fillna({"note": ""})[FINDINGS_COLUMNS]


def _error_change(network: str, protocol: str) -> Claim:
    """The change of a network's error against v1-net's, as a claim for its values and interval."""
    return Claim(
        finding=6,
        claim="",
        measure=f"error on {protocol} images, {network} over {V1_NET}",
        unit="%",
        side=-1,
        values=both_roles(protocol, network, V1_NET),
        statistic=change,
    )


def _collect(claim: Claim, runs: Sequence[SeedRun]) -> tuple[list[Seed], list[str]]:
    """The claim's values in every run that has them, and a line for each other run."""
    seeds: list[Seed] = []
    gaps: list[str] = []
    name = f"finding {claim.finding} ({claim.measure})"

    for run in runs:
        try:
            seeds.append(claim.values(run))
        except Missing as why:
            gaps.append(f"{name} cannot be judged in {run.root}: {why}")

    return seeds, gaps


def _resample(claim: Claim, seeds: Sequence[Seed], runs: Sequence[SeedRun]) -> Resampled:
    """With the same resampled realisations for every claim on the same images.

    So comparisons agree with one another.
    """
    generator = numpy_generator(runs[0].config.seed, "findings")

    try:
        with np.errstate(divide="ignore", invalid="ignore"):
            return resample(seeds, claim.statistic, generator)
    except ValueError as error:
        raise ValueError(f"finding {claim.finding} ({claim.measure}): {error}") from error


def _confidences(judged: Sequence[Judged]) -> list[float]:
    """The confidence of each claim's interval: Holm's within a family, else 95 %.

    So the share of families in which any claim is judged wrongly stays at 5 %.
    """
    confidences = [CONFIDENCE] * len(judged)

    for family in {item.claim.family for item in judged} - {""}:
        members = [i for i, item in enumerate(judged) if item.claim.family == family]
        p = np.array([judged[i].resampled.p_value() for i in members])
        limits, _ = holm(np.nan_to_num(p, nan=1.0))

        for i, limit in zip(members, limits, strict=True):
            confidences[i] = 1 - float(limit)

    return confidences


def _row(judged: Judged, confidence: float) -> list[object]:
    claim = judged.claim
    seeds = judged.seeds
    effect, low, high = judged.resampled.interval(confidence)
    studies, images = _count(seeds)

    study_means = [study.mean(axis=0) for study in _studies(seeds)]
    remark = claim.note(np.mean(study_means, axis=0))
    correction = ""
    if claim.family:
        correction = (
            f"interval of {100 * confidence:.1f} %, by Holm over all rows of {claim.family}"
        )
    caution = _caution(seeds, math.isnan(low))
    note = "; ".join(filter(None, (remark, correction, caution)))

    row = {
        "finding": claim.finding,
        "claim": claim.claim,
        "measure": claim.measure,
        "effect": effect,
        "unit": claim.unit,
        "claimed": SIDES[claim.side],
        "low": low,
        "high": high,
        "confidence": round(confidence, 6),
        "seeds": len(seeds),
        "studies": studies,
        "realisations": images,
        "holds": holds(claim.side, low, high),
        "paper": claim.paper,
        "note": note,
    }
    return [row[column] for column in FINDINGS_COLUMNS]


def _studies(seeds: Sequence[Seed]) -> list[Floats]:
    return [study for seed in seeds for group in seed for study in group]


def _count(seeds: Sequence[Seed]) -> tuple[int, int]:
    """Studies and images, of all seeds together."""
    studies = _studies(seeds)
    return len(studies), sum(len(study) for study in studies)


def _caution(seeds: Sequence[Seed], without_interval: bool) -> str:
    """What an interval does not cover, in plain words."""
    if without_interval:
        return "measured once: no interval"

    if len(seeds) > 1:
        few = len(seeds) < FEW_SEEDS
        return f"{len(seeds)} seeds are few: the interval is rough" if few else ""

    groups = seeds[0]
    several_studies = any(len(group) > 1 for group in groups)
    single_image = any(len(group) == len(group[0]) == 1 for group in groups)

    covered = "test studies and noise" if several_studies else "noise realisations only"
    more = "; the study with a single image adds nothing to it" if single_image else ""
    return f"one seed: the interval covers {covered}, not other bodies or trainings{more}"
