"""What each step of making a network took, from benchmarks and logs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ..io.contents import CellKind, Number, check_table
from ..io.files import read_csv
from .inputs import TimedJob, timed_jobs
from .results import Results

STEPS = ("reconstruction", "dataset", "training")

PAPER_HOURS = {"from scratch": 20.8 * 7 * 24, "TGD": 7.4 * 7 * 24}

PAPER_TRAINING_HOURS = {"from scratch": 5.5 * 24, "TGD": 2.5 * 24}

# What of a training's log is read; nothing may be held out.
SPEED: dict[str, CellKind] = {
    "step": Number(low=0, whole=True),
    "pixels_per_s": Number(low=0),
}
LOG: dict[str, CellKind] = {
    **SPEED,
    "epoch": Number(low=0),
    "loss": Number(optional=True),
    "validation_loss": Number(optional=True),
}
BENCHMARK: dict[str, CellKind] = {"s": Number(low=0)}
COLUMNS = ["source", "way", "step", "files", "expected", "wall_s"]


def times(results: Results) -> pd.DataFrame:
    """Columns source, way, step, files (found), expected, wall_s; missing benchmark files count as
    0 s.

    Wall time, as the processor time that Snakemake samples misses most of a short job. Of an
    interrupted training the benchmark file knows the last part alone, its log all of them.
    """
    rows: list[tuple[str, str, str, int, int, float]] = []

    for way, steps in timed_jobs(results).items():
        for step, jobs in steps.items():
            measured = [job for job in jobs if job.benchmark.exists()]
            wall_s = sum(_seconds(job) for job in measured)
            counts = (len(measured), len(jobs))
            rows.append(("measured", way, step, *counts, wall_s))

    for way, hours in PAPER_HOURS.items():
        training_h = PAPER_TRAINING_HOURS[way]
        reconstruction_s = (hours - training_h) * 3600
        rows.append(("paper", way, "reconstruction", 0, 0, reconstruction_s))
        rows.append(("paper", way, "training", 0, 0, training_h * 3600))

    return pd.DataFrame(rows, columns=COLUMNS)


def saved(table: pd.DataFrame, source: str, step: str | None = None) -> float:
    """Share of the time that TGD saves, in %; nan when something was not measured."""
    chosen = table[table.source == source]
    if step:
        chosen = chosen[chosen.step == step]
    if (chosen.files < chosen.expected).any():
        return math.nan

    total_s = chosen.groupby("way")["wall_s"].sum()
    if not total_s.get("from scratch", 0) > 0:
        return math.nan

    return float(100 * (1 - total_s["TGD"] / total_s["from scratch"]))


def _seconds(job: TimedJob) -> float:
    """Wall seconds of a job, all its parts if it is a training."""
    wall_s = _benchmark(job.benchmark)
    if job.log is None or not job.log.exists():
        return wall_s

    return max(wall_s, _trained(job.log, job.step_pixels))


def _trained(log: Path, step_pixels: int) -> float:
    """Seconds of training over all its parts, from its log's speed (a mean since the first step); 0
    without one.
    """
    table = read_log(log, SPEED)
    if not len(table) or not table["pixels_per_s"].iloc[-1] > 0:
        return 0.0

    steps = table["step"].iloc[-1]
    pixels_per_s = table["pixels_per_s"].iloc[-1]
    return float(steps * step_pixels / pixels_per_s)


def read_log(path: Path, columns: Mapping[str, CellKind] | None = None) -> pd.DataFrame:
    """The log of a training, of which all of LOG or only these `columns` have to be there.

    ValueError naming file, column and row where a cell is of another kind.
    """
    columns = columns or LOG
    table = read_csv(path, columns)
    check_table(table, columns, path)

    return table


def _benchmark(path: Path) -> float:
    """Wall seconds, the mean over the file's repeats; ValueError naming the file where it holds no
    such number.
    """
    seconds = read_csv(path, BENCHMARK)
    check_table(seconds, BENCHMARK, path)
    if not len(seconds):
        raise ValueError(f"{path}: column 's': expected seconds, got no row")

    return float(seconds["s"].mean())
