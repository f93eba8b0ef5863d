"""Every measured number of the reports with its 95 % interval.

Table 1, errors on the old and new task, unseen organs. Intervals are those of the findings
(bootstrap.py): over seeds, then studies and noise realisations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..config import roles
from ..config.sections import Config
from ..io.contents import NETWORK, CellKind, Number, Text
from ..runtime.seeds import numpy_generator
from .bootstrap import Floats, Interval, Seed, Statistic, interval
from .changes import forgetting, gain
from .claim import both_roles
from .effects import first
from .results import INPUT, METRICS, ONLINE_BASES, PAPER_TABLE1, Results
from .seed_runs import Missing, SeedRun, check_unique, read_table

TABLE1 = ("lesion_bias", "liver_cov")
TASKS = ("rmse_v1", "rmse_v2", "gain", "forgotten")
UNSEEN = {"bladder_error": roles.BLADDER, "catheter_error": roles.CATHETER}
MEASURE_UNITS = {
    "lesion_bias": "%",
    "liver_cov": "%",
    "rmse_v1": "Bq/mL",
    "rmse_v2": "Bq/mL",
    "gain": "%",
    "forgotten": "%",
    "bladder_error": "%",
    "catheter_error": "%",
}
# The columns of a table of estimates.
ESTIMATES: dict[str, CellKind] = {
    "network": Text(NETWORK),
    "measure": Text(choices=tuple(MEASURE_UNITS)),
    "value": Number(),
    "low": Number(optional=True),
    "high": Number(optional=True),
    "unit": Text(),
    "seeds": Number(low=0, whole=True),
    "images": Number(low=0, whole=True),
}
ESTIMATES_COLUMNS = list(ESTIMATES)


@dataclass(frozen=True)
class Quantity:
    """A number that is measured in every run."""

    network: str
    measure: str
    values: Callable[[SeedRun], Seed]
    statistic: Statistic = first


def estimates(runs: Sequence[SeedRun]) -> tuple[pd.DataFrame, list[str]]:
    """The table (ESTIMATES_COLUMNS) of means over seeds with intervals, and a line for each gap.

    Intervals are nan where nothing was repeated. `images`: noisy images of all seeds and studies
    together. Raises ValueError, naming network and measure, when a value is not a finite number.
    """
    rows = []
    gaps: list[str] = []

    for quantity in _quantities(runs[0].config):
        seeds, missing = _collect(quantity, runs)
        gaps += missing

        if seeds:
            rows.append(_row(quantity, seeds, runs))

    return pd.DataFrame(rows, columns=ESTIMATES_COLUMNS), gaps


def read_estimates(path: Path) -> pd.DataFrame:
    """Read a table of estimates.

    ValueError naming the file for a missing column, measure or number.
    """
    table = read_table(path, ESTIMATES)
    check_unique(table, ["network", "measure"], path)

    return table


def wide(table: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """One row a network that has any of the measures: columns network and, for each NAME, four.

    NAME, NAME_low, NAME_high, and NAME_n: images that it was measured on; nan where a network has
    no such value.
    """
    columns = {
        "value": "",
        "low": "_low",
        "high": "_high",
        "images": "_n",
    }
    chosen = table[table["measure"].isin(measures)]
    rows = pd.DataFrame({"network": chosen["network"].unique()})

    for measure in measures:
        values = chosen[chosen["measure"] == measure].set_index("network")

        for column, suffix in columns.items():
            rows[measure + suffix] = rows["network"].map(values[column])

    return rows


def read_table1(path: Path) -> pd.DataFrame:
    """Table 1 of a table of estimates, beside the paper's numbers, in %; the input comes first.

    Columns network, lesion_bias, liver_cov (each also _low, _high, _n), paper_lesion_bias,
    paper_liver_cov: means over seeds with 95 % intervals.
    """
    rows = wide(read_estimates(path), TABLE1)
    not_in_paper = (math.nan, math.nan)

    for column, measure in enumerate(TABLE1):
        paper = [PAPER_TABLE1.get(network, not_in_paper)[column] for network in rows["network"]]
        rows[f"paper_{measure}"] = paper

    return rows


def estimate_text(value: float, low: float, high: float, images: float, digits: int) -> str:
    """A number with its interval, or that it has none; a dash where nothing was measured."""
    if not math.isfinite(value):
        return "–"

    number = f"{value:.{digits}f}"

    if math.isnan(low):
        return f"{number} ({n_realisations(images)}, no interval)"

    return f"{number} ({low:.{digits}f} to {high:.{digits}f})"


def n_realisations(images: float) -> str:
    """How many noisy images a number rests on, for people."""
    return "one realisation" if images == 1 else f"{images:.0f} realisations"


def _collect(quantity: Quantity, runs: Sequence[SeedRun]) -> tuple[list[Seed], list[str]]:
    """The quantity's values in every run that has them, and a line for each other run."""
    seeds: list[Seed] = []
    gaps: list[str] = []
    name = f"{quantity.measure} of {quantity.network}"

    for run in runs:
        try:
            seeds.append(quantity.values(run))
        except Missing as why:
            gaps.append(f"{name} has no value in {run.root}: {why}")

    return seeds, gaps


def _row(quantity: Quantity, seeds: Sequence[Seed], runs: Sequence[SeedRun]) -> list[object]:
    value, low, high = _interval(quantity, seeds, runs)
    unit = MEASURE_UNITS[quantity.measure]
    images = 0

    for seed in seeds:
        for group in seed:
            images += sum(len(study) for study in group)

    row = {
        "network": quantity.network,
        "measure": quantity.measure,
        "value": value,
        "low": low,
        "high": high,
        "unit": unit,
        "seeds": len(seeds),
        "images": images,
    }
    return [row[column] for column in ESTIMATES_COLUMNS]


def _interval(quantity: Quantity, seeds: Sequence[Seed], runs: Sequence[SeedRun]) -> Interval:
    """With the same resampled realisations for every quantity."""
    generator = numpy_generator(runs[0].config.seed, "estimates")

    try:
        with np.errstate(divide="ignore", invalid="ignore"):
            return interval(seeds, quantity.statistic, generator)
    except ValueError as error:
        raise ValueError(f"{quantity.measure} of {quantity.network}: {error}") from error


def _quantities(config: Config) -> Iterator[Quantity]:
    """All numbers of a configuration, in the reports' order."""
    results = Results(Path(), config, ())
    networks = (INPUT, *results.population(()))

    for measure in TABLE1:
        for network in networks:
            yield Quantity(network, measure, _ensemble(network, measure))

    for network in networks:
        yield Quantity(network, "rmse_v1", both_roles("v1", network))
        yield Quantity(network, "rmse_v2", both_roles("v2", network))

        entry = config.networks.get(network)
        base = entry.base if entry else None

        if base in networks:
            new_task = both_roles("v2", network, base)
            yield Quantity(network, "gain", new_task, _gain)

            old_task = both_roles("v1", network, base)
            yield Quantity(network, "forgotten", old_task, _forgetting)

    unseen = (INPUT, *results.population(ONLINE_BASES), *results.online())

    for measure, role in UNSEEN.items():
        for network in unseen:
            cell = (network, "v2", measure)
            yield Quantity(network, measure, _of_role(role, cell))


def _gain(means: Floats) -> Floats:
    """Of the first network's errors against the second's."""
    error = means[..., 0]
    base_error = means[..., 1]
    return np.asarray(gain(error, base_error))


def _forgetting(means: Floats) -> Floats:
    """Of the first network's errors against the second's."""
    error = means[..., 0]
    base_error = means[..., 1]
    return np.asarray(forgetting(error, base_error))


def _of_role(role: str, cell: tuple[str, str, str]) -> Callable[[SeedRun], Seed]:
    return lambda run: [run.columns(role, cell)]


def _ensemble(network: str, measure: str) -> Callable[[SeedRun], Seed]:
    """Of the realisations; where these are too few for an interval, the metrics table's value."""

    def values(run: SeedRun) -> Seed:
        try:
            return [run.columns(roles.LESION, (network, "v2", measure))]
        except Missing:
            measured = _measured_once(run, network, measure)

            if not len(measured):
                raise

            single_value = np.array([[float(measured.mean())]])
            return [[single_value]]

    return values


def _measured_once(run: SeedRun, network: str, measure: str) -> pd.Series:
    """The values of the metrics table, of v2 images of the lesion studies."""
    table = read_table(run.root / "metrics" / "metrics.csv", METRICS)
    wanted = {
        "role": roles.LESION,
        "protocol": "v2",
        "network": network,
        "measure": measure,
    }

    for column, value in wanted.items():
        table = table[table[column] == value]

    return table["value"]
