"""Results folders as repetitions of one experiment: one a seed, with its values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..config import loading, sections
from ..io.contents import CellKind, check_table
from ..io.files import read_csv
from .bootstrap import Floats, cov_values
from .results import METRICS
from .voi_values import ProtocolValues, StudyValues, file_name, read_voi_values

# Settings in which repetitions may differ.
FREE = ("seed", "results", "studies", "device", "resources", "compute", "figures")
MIN_REALISATIONS = 3

Cell = tuple[str, str, str]  # network, protocol, measure


class Missing(Exception):
    """Why something cannot be judged in a results folder: what was not made or measured there."""


@dataclass(frozen=True, eq=False)
class SeedRun:
    """One results folder of one seed: its configuration and its test studies' values."""

    root: Path
    config: sections.Config
    studies: Sequence[StudyValues]

    def columns(self, role: str, *cells: Cell) -> list[Floats]:
        """One array (R, number of cells) for each study of a role: all cells of the same R images.

        "liver_cov" and "lesion_bias" (%) are of the realisations, all other measures of every noisy
        image. Raises Missing, saying what is not there.
        """
        studies = [study for study in self.studies if study.role == role]

        if not studies:
            raise Missing(f"there is no study of role {role}")

        columns = []

        for study in studies:
            values = [_values(study, *cell) for cell in cells]
            columns.append(np.stack(values, axis=1))

        return columns


def load_runs(roots: Sequence[Path]) -> list[SeedRun]:
    """The runs in these folders.

    Raises ValueError when two have the same seed (they would count as independent and are not) or
    differ in more than the seed, when a table or file is damaged or holds NaN; FileNotFoundError
    for what is missing; each names the file.
    """
    pairs = zip(roots, configs(roots), strict=True)
    return [_load_run(root, config) for root, config in pairs]


def configs(roots: Sequence[Path]) -> list[sections.Config]:
    """The configurations of these folders; ValueError where two are no repetitions of each other.

    Repetitions differ in their seeds alone (but for FREE).
    """
    read = [loading.read_config(root / "config.yaml") for root in roots]

    for i, (root, config) in enumerate(zip(roots, read, strict=True)):
        for earlier_root, earlier in zip(roots[:i], read[:i], strict=True):
            if earlier.seed == config.seed:
                raise ValueError(
                    f"{root}: seed {config.seed} is that of {earlier_root}, so no repetition"
                )

        if keys := list(differing(read[0], config)):
            raise ValueError(
                f"{root}/config.yaml: {keys[0]} differs from {roots[0]}: no repetition of that run"
            )

    return read


def differing(config: sections.Config, reference: sections.Config) -> dict[str, tuple[Any, Any]]:
    """Settings that decide a result (all but FREE) and differ: dotted name -> both values.

    None stands for a setting that one of them lacks.
    """
    values = dict(_flat(sections.as_dict(config)))
    reference_values = dict(_flat(sections.as_dict(reference)))
    different = {}

    for name in {**values, **reference_values}:
        section = name.split(".")[0]
        both = (values.get(name), reference_values.get(name))

        if section not in FREE and both[0] != both[1]:
            different[name] = both

    return different


def read_table(path: Path, columns: Mapping[str, CellKind]) -> pd.DataFrame:
    """A table with these `columns`; ValueError naming file, column and row where a cell is not of
    its kind.
    """
    table = read_csv(path, columns)
    check_table(table, columns, path)

    return table


def check_unique(table: pd.DataFrame, keys: list[str], path: Path) -> None:
    """Raise ValueError naming the file and the first row whose `keys` stand in a row above, too."""
    repeated = table.duplicated(keys).to_numpy()

    if repeated.any():
        row = int(repeated.argmax()) + 2
        raise ValueError(f"{path}: row {row} repeats another one's {keys}")


def _flat(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of nested settings."""
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner


def _load_run(root: Path, config: sections.Config) -> SeedRun:
    metrics = root / "metrics" / "metrics.csv"

    # The table of all studies says which files belong to this run: a folder may hold those of a
    # study taken out since.
    names = read_table(metrics, METRICS)["study"].astype(str).unique()
    studies = [read_voi_values(metrics.with_name(file_name(name))) for name in names]
    return SeedRun(root, config, studies)


def _values(study: StudyValues, network: str, protocol: str, measure: str) -> Floats:
    """A measure of a network's images of one study and protocol, (R,)."""
    where = f"study {study.study}, {protocol}"

    if protocol not in study.protocols:
        raise Missing(f"{where}: there are no such images")

    images = study.protocols[protocol]

    if network not in images.networks:
        raise Missing(f"{where}: network {network} was not measured")

    if measure in ("liver_cov", "lesion_bias"):
        values = _ensemble_values(images, network, measure, where)

        if values is not None:
            return values

    errors = images.networks[network].errors

    if measure not in errors:
        raise Missing(f"{where}: {measure} was not measured (no such organ in the images)")

    return np.asarray(errors[measure])


def _ensemble_values(
    images: ProtocolValues, network: str, measure: str, where: str
) -> Floats | None:
    """Liver CoV or lesion bias (%) of the realisations; None where the organ is not there."""
    values = images.networks[network]
    realised = images.realised()

    if len(realised) < MIN_REALISATIONS:
        raise Missing(
            f"{where}: {len(realised)} realisations; an interval takes at least {MIN_REALISATIONS}"
        )

    if measure == "liver_cov" and values.liver is not None:
        return cov_values(values.liver[realised])

    if measure == "lesion_bias" and values.lesion is not None and images.lesion is not None:
        return np.asarray((values.lesion[realised] / images.lesion - 1) * 100)

    return None
