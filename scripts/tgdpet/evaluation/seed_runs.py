"""Results folders as repetitions of one experiment: one a seed, with the values that findings are
judged by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..config import loading, sections
from ..io.files import read_csv
from . import voi_values
from .bootstrap import Floats, cov_values
from .evaluate import COLUMNS

# Settings in which repetitions may differ.
FREE = ("seed", "results", "studies", "device", "resources", "compute")
MIN_REALISATIONS = 3

Cell = tuple[str, str, str]  # network, protocol, measure


class Missing(Exception):
    """Why something cannot be judged in a results folder: what was not made or not measured
    there.
    """


@dataclass(frozen=True, eq=False)
class SeedRun:
    """One results folder: its configuration and its test studies' values."""

    root: Path
    config: sections.Config
    studies: Sequence[voi_values.StudyValues]

    def columns(self, role: str, *cells: Cell) -> list[Floats]:
        """One array (R, number of cells) for each study of a role: the cells' values of the same R
        images.

        "liver_cov" and "lesion_bias" (%) are of the realisations, all other measures of every noisy
        image. Raises Missing, saying what is not there.
        """
        studies = [study for study in self.studies if study.role == role]
        if not studies:
            raise Missing(f"there is no study of role {role}")
        return [np.stack([_values(study, *cell) for cell in cells], axis=1) for study in studies]


def load_runs(roots: Sequence[Path]) -> list[SeedRun]:
    """The runs in these folders.

    Raises ValueError when two have the same seed (they would count as independent and are not) or
    differ in more than the seed, when a table or file is damaged or holds NaN; FileNotFoundError
    for what is missing; each names the file.
    """
    return [_load(root, config) for root, config in zip(roots, configs(roots), strict=True)]


def configs(roots: Sequence[Path]) -> list[sections.Config]:
    """The configurations of these folders, which differ in their seeds alone (but for FREE); else
    ValueError.
    """
    found = {root: loading.read_config(root / "config.yaml") for root in roots}
    out: list[sections.Config] = []
    for root in roots:
        config = found[root]
        for other, before in zip(roots, out, strict=False):
            if before.seed == config.seed:
                raise ValueError(f"{root}: seed {config.seed} is that of {other}, so no repetition")
        if keys := list(differing(found[roots[0]], config)):
            raise ValueError(
                f"{root}/config.yaml: {keys[0]} differs from {roots[0]}: no repetition of that run"
            )
        out.append(config)
    return out


def differing(ours: sections.Config, theirs: sections.Config) -> dict[str, tuple[Any, Any]]:
    """Settings that decide a result (all but FREE) and differ: dotted name -> both values, None
    where there is none.
    """
    one, two = (dict(_flat(sections.as_dict(config))) for config in (ours, theirs))
    names = {
        name: (one.get(name), two.get(name))
        for name in {**one, **two}
        if name.split(".")[0] not in FREE
    }
    return {name: both for name, both in names.items() if both[0] != both[1]}


def _flat(value: dict[str, Any], key: str = "") -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat(inner, f"{key}{name}.")
        else:
            yield f"{key}{name}", inner


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A table whose `columns` hold no NaN; ValueError naming file, column and row otherwise."""
    table = read_csv(path, columns)
    for column in columns:
        if table[column].isna().any():
            row = int(table[column].isna().to_numpy().argmax())
            raise ValueError(f"{path}: column {column!r}, row {row + 2}: no value (NaN)")
    return table


def _load(root: Path, config: sections.Config) -> SeedRun:
    metrics = root / "metrics" / "metrics.csv"
    # The table of all studies says which files belong to this run: a folder may hold those of a
    # study taken out since.
    names = read_table(metrics, COLUMNS)["study"].astype(str).unique()
    return SeedRun(
        root,
        config,
        [voi_values.read(metrics.with_name(voi_values.file_name(name))) for name in names],
    )


def _values(study: voi_values.StudyValues, network: str, protocol: str, measure: str) -> Floats:
    where = f"study {study.study}, {protocol}"
    if protocol not in study.protocols:
        raise Missing(f"{where}: there are no such images")
    images = study.protocols[protocol]
    if network not in images.networks:
        raise Missing(f"{where}: network {network} was not measured")
    values, realised = images.networks[network], images.realised()
    if measure in ("liver_cov", "lesion_bias"):
        if len(realised) < MIN_REALISATIONS:
            raise Missing(
                f"{where}: {len(realised)} realisations; an interval takes at least {MIN_REALISATIONS}"
            )
        if measure == "liver_cov" and values.liver is not None:
            return cov_values(values.liver[realised])
        if measure == "lesion_bias" and values.lesion is not None and images.lesion is not None:
            return np.asarray((values.lesion[realised] / images.lesion - 1) * 100)
    if measure not in values.errors:
        raise Missing(f"{where}: {measure} was not measured (no such organ in the images)")
    return np.asarray(values.errors[measure])
