"""What each step of making a network took, from benchmarks and logs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..config import roles
from ..io.files import read_csv
from .results import Results

STEPS = ("reconstruction", "dataset", "training")

PAPER_HOURS = {"from scratch": 20.8 * 7 * 24, "TGD": 7.4 * 7 * 24}

PAPER_TRAINING_HOURS = {"from scratch": 5.5 * 24, "TGD": 2.5 * 24}


def times(results: Results) -> pd.DataFrame:
    """Columns source, way, step, files (found), expected, wall_s; missing benchmark files count as
    0 s.

    Wall time, as the processor time that Snakemake samples misses most of a short job. Of an
    interrupted training the benchmark file knows the last part alone, its log all of them.
    """
    rows = []
    for way, parts in _parts(results).items():
        for step, paths in parts.items():
            found = [p for p in paths if p.exists()]
            rows.append(
                (
                    "measured",
                    way,
                    step,
                    len(found),
                    len(paths),
                    sum(_seconds(p, results) for p in found),
                )
            )
    for way, hours in PAPER_HOURS.items():
        training = PAPER_TRAINING_HOURS[way]
        rows.append(("paper", way, "reconstruction", 0, 0, (hours - training) * 3600))
        rows.append(("paper", way, "training", 0, 0, training * 3600))
    return pd.DataFrame(rows, columns=["source", "way", "step", "files", "expected", "wall_s"])


def saved(table: pd.DataFrame, source: str, step: str | None = None) -> float:
    """Share of the time that TGD saves, in %; nan when something was not measured."""
    chosen = table[(table.source == source) & ((table.step == step) if step else True)]
    if (chosen.files < chosen.expected).any():
        return math.nan
    total = chosen.groupby("way")["wall_s"].sum()
    return (
        float(100 * (1 - total["TGD"] / total["from scratch"]))
        if total.get("from scratch", 0) > 0
        else math.nan
    )


def _parts(results: Results) -> dict[str, dict[str, Sequence[Path]]]:
    folder, entries = results.root / "benchmarks", results.config.networks

    def reconstructions(role: str) -> list[Path]:
        return [
            p for s in results.studies if s.role == role for p in _reconstruction(folder, s.study)
        ]

    trained = [n for n, e in entries.items() if e.from_scratch and e.data == "v2"]
    own = [
        n for n, e in entries.items() if e.method == "tgd" and e.data == "adapt" and e.mask == "kse"
    ]
    tgd = next(iter(own), "TGD-net")
    return {
        "from scratch": {
            "reconstruction": reconstructions(roles.TRAINING),
            "dataset": [folder / "dataset" / "v2.tsv"],
            "training": [folder / "train" / f"{next(iter(trained), 'no network')}.tsv"],
        },
        "TGD": {
            "reconstruction": reconstructions(roles.ADAPTATION),
            "dataset": [folder / "dataset" / "adapt.tsv"],
            "training": [folder / "adapt" / f"{tgd}.tsv"],
        },
    }


def _reconstruction(folder: Path, study: str) -> list[Path]:
    """One file per study and protocol, or one per image when the config makes each image a job."""
    whole = folder / "reconstruct" / f"{study}_v2.tsv"
    return (
        [whole]
        if whole.exists()
        else sorted((folder / "reconstruct").glob(f"{study}_v2_*.tsv")) or [whole]
    )


def _seconds(path: Path, results: Results) -> float:
    """Wall seconds of a job, all its parts if it is a training."""
    return max(_benchmark(path), _trained(path, results))


def _trained(benchmark: Path, results: Results) -> float:
    """Seconds of training over all its parts, from its log's speed (a mean since the first step); 0
    without a log.
    """
    jobs = {"train": ("models", results.config.train), "adapt": ("adapted", results.config.adapt)}
    if benchmark.parent.name not in jobs:
        return 0.0
    folder, settings = jobs[benchmark.parent.name]
    path = results.root / folder / f"{benchmark.stem}_log.csv"
    if not path.exists():
        return 0.0
    log = read_csv(path, ["step", "pixels_per_s"])
    if not len(log) or not log["pixels_per_s"].iloc[-1] > 0:
        return 0.0
    return float(
        log["step"].iloc[-1] * settings.batch * settings.patch**2 / log["pixels_per_s"].iloc[-1]
    )


def _benchmark(path: Path) -> float:
    """Wall seconds, the mean over the file's repeats; ValueError naming the file where it holds no
    such number.
    """
    seconds = pd.to_numeric(read_csv(path, ["s"])["s"], errors="coerce")
    if not len(seconds) or seconds.isna().any():
        raise ValueError(f"{path}: column 's': expected seconds, got no number")
    return float(seconds.mean())
