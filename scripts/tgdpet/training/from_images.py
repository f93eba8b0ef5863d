"""Adapting a network to images that lie anywhere: two halves of a study, or pairs of a protocol.

The steps are the workflow's (stages 4, 6 and 7), one after the other in one folder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from ..config.sections import NetworkEntry, Score, Training
from ..dataset.index import Pair, build
from ..io.files import read_csv, write_csv
from ..networks import weights
from .job import Job
from .jobs import adapt, score_table

# As in the workflow's default configuration (config/config.yaml).
ONLINE = Training(epochs=50, batch=8, learning_rate=1e-3)
ONLINE_ENTRY = NetworkEntry(
    method="tgd", data="n2n", fraction=0.35, fraction_of="alive", batchnorm="per_channel"
)
PROTOCOL = Training(epochs=8, batch=8, learning_rate=1e-3)
PROTOCOL_ENTRY = replace(ONLINE_ENTRY, data="adapt")

PAIR_COLUMNS = ("noisy", "target")
ADAPTED = re.compile(r"(.+)-adapted(?:-(\d+))?")


@dataclass(frozen=True)
class PairPaths:
    """A row of a table of pairs: the study it belongs to, and its two images."""

    study: str
    noisy: Path
    target: Path


def halves_both_ways(study: str, first: Path, second: Path) -> list[Pair]:
    """Noise2Noise (Lehtinen et al. 2018): each half is trained towards the other."""
    return [Pair(study, "half1", first, second), Pair(study, "half2", second, first)]


def adapted_name(parent: str) -> str:
    """The name of what is adapted from `parent`: `v2-net-adapted`, then `v2-net-adapted-2`."""
    earlier = ADAPTED.fullmatch(parent)
    if earlier is None:
        return f"{parent}-adapted"

    n_rounds = int(earlier[2] or 1) + 1
    return f"{earlier[1]}-adapted-{n_rounds}"


def read_pairs(table: Path) -> list[PairPaths]:
    """The rows of a table (.tsv or .csv) with the columns noisy, target and, where several rows
    show one study, study; paths are relative to the table.

    Raises ValueError naming the table and the column or row that is wrong.
    """
    if not table.exists():
        raise FileNotFoundError(f"{table}: no such table of pairs")

    rows = read_csv(table, PAIR_COLUMNS)
    if rows.empty:
        raise ValueError(f"{table}: expected at least one pair, got none")

    named = ("study",) if "study" in rows else ()
    pairs = []
    for number, row in enumerate(rows.to_dict("records"), start=1):
        for column in (*PAIR_COLUMNS, *named):
            if pd.isna(row[column]):
                raise ValueError(f"{table}: row {number}: column {column!r}: empty")

        study = row.get("study", f"study{number:03d}")
        noisy = table.parent / str(row["noisy"])
        target = table.parent / str(row["target"])
        pairs.append(PairPaths(str(study), noisy, target))

    return pairs


def adapt_to_pairs(
    job: Job,
    pairs: Sequence[Pair],
    held_out: Sequence[str],
    base: Path,
    entry: NetworkEntry,
    settings: Training,
) -> None:
    """Build the training set `job.dataset`, score the kernels of `base` where `entry` is by KSE,
    and adapt it; writes what `jobs.adapt` writes.

    Files of an unfinished run are made again, alike, so that its checkpoint goes on.
    """
    build(pairs, held_out, job.dataset)

    scores = None
    if entry.method == "tgd":
        scores = job.dataset.with_name("scores.csv")
        model, _ = weights.load(base)
        write_csv(scores, score_table(model, Score.k, Score.alpha))

    adapt(job, settings, entry, base, scores)
