"""Every measured number of the reports with its 95 % interval: Table 1, errors on the old and new
task, unseen organs.

Intervals are those of the findings (bootstrap.py): over seeds, then studies and noise realisations.
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
from ..runtime.seeds import numpy_generator
from .bootstrap import Floats, Interval, Seed, Statistic, interval
from .evaluate import COLUMNS as METRICS
from .paper_claims import both_roles, change, first
from .results import INPUT, Results
from .seed_runs import Missing, SeedRun, read_table

COLUMNS = ["network", "measure", "value", "low", "high", "unit", "seeds", "images"]
TABLE1 = ("lesion_bias", "liver_cov")
TASKS = ("rmse_v1", "rmse_v2", "gain", "forgotten")
UNSEEN = {"bladder_error": roles.BLADDER, "catheter_error": roles.CATHETER}
UNITS = {name: "Bq/mL" if name.startswith("rmse") else "%" for name in (*TABLE1, *TASKS, *UNSEEN)}


@dataclass(frozen=True)
class Quantity:
    """A number that is measured in every run."""

    network: str
    measure: str
    values: Callable[[SeedRun], Seed]
    statistic: Statistic = first


def estimates(runs: Sequence[SeedRun]) -> tuple[pd.DataFrame, list[str]]:
    """The table (COLUMNS): means over seeds with intervals, nan where nothing was repeated; and a
    line for each gap.

    `images`: noisy images of all seeds and studies together. Raises ValueError, naming network and
    measure, when a value is not a finite number.
    """
    rows, gaps = [], []
    for quantity in _quantities(runs[0].config):
        seeds: list[Seed] = []
        for run in runs:
            try:
                seeds.append(quantity.values(run))
            except Missing as why:
                gaps.append(
                    f"{quantity.measure} of {quantity.network} has no value in {run.root}: {why}"
                )
        if seeds:
            images = sum(len(study) for seed in seeds for group in seed for study in group)
            unit = UNITS[quantity.measure]
            rows.append(
                [
                    quantity.network,
                    quantity.measure,
                    *_interval(quantity, seeds, runs),
                    unit,
                    len(seeds),
                    images,
                ]
            )
    return pd.DataFrame(rows, columns=COLUMNS), gaps


def read(path: Path) -> pd.DataFrame:
    """Read a table of estimates; ValueError naming the file for a missing column, measure or
    number.
    """
    table = read_table(path, [c for c in COLUMNS if c not in ("low", "high")])
    for column in ("low", "high"):
        if column not in table:
            raise ValueError(f"{path}: column {column!r} is missing; expected {', '.join(COLUMNS)}")
    if unknown := sorted(set(table["measure"]) - set(UNITS)):
        raise ValueError(f"{path}: column 'measure': {unknown[0]!r} is none of {', '.join(UNITS)}")
    return table


def wide(table: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """One row a network that has any of the measures: columns network, then for each NAME,
    NAME_low, NAME_high, NAME_n.

    NAME_n: images that it was measured on; nan where a network has no such value.
    """
    chosen = table[table["measure"].isin(measures)]
    out = pd.DataFrame({"network": chosen["network"].unique()})
    for measure in measures:
        own = chosen[chosen["measure"] == measure].set_index("network")
        for column, suffix in (("value", ""), ("low", "_low"), ("high", "_high"), ("images", "_n")):
            out[measure + suffix] = out["network"].map(own[column])
    return out


def text(value: float, low: float, high: float, images: float, digits: int) -> str:
    """A number with its interval, or with the words that there is none; a dash where nothing was
    measured.
    """
    if not math.isfinite(value):
        return "–"
    if math.isnan(low):
        words = "one realisation" if images == 1 else f"{images:.0f} realisations"
        return f"{value:.{digits}f} ({words}, no interval)"
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _interval(quantity: Quantity, seeds: Sequence[Seed], runs: Sequence[SeedRun]) -> Interval:
    """With the same resampled realisations for every quantity."""
    try:
        with np.errstate(divide="ignore", invalid="ignore"):
            return interval(
                seeds, quantity.statistic, numpy_generator(runs[0].config.seed, "estimates")
            )
    except ValueError as error:
        raise ValueError(f"{quantity.measure} of {quantity.network}: {error}") from error


def _quantities(config: Config) -> Iterator[Quantity]:
    results = Results(Path(), config, ())
    networks = (INPUT, *results.population(()))
    for measure in TABLE1:
        for network in networks:
            yield Quantity(network, measure, _ensemble(network, measure))
    for network in networks:
        for protocol in ("v1", "v2"):
            yield Quantity(network, f"rmse_{protocol}", both_roles(protocol, network))
        entry = config.networks.get(network)
        base = entry.base if entry else None
        if base in networks:
            yield Quantity(network, "gain", both_roles("v2", network, base), _less)
            yield Quantity(network, "forgotten", both_roles("v1", network, base), change)
    unseen = (INPUT, *results.population(("v2-net", "TGD-net")), *results.online())
    for measure, role in UNSEEN.items():
        for network in unseen:
            yield Quantity(network, measure, _single(role, (network, "v2", measure)))


def _less(means: Floats) -> Floats:
    """How much smaller the first is than the second, %."""
    return -change(means)


def _single(role: str, cell: tuple[str, str, str]) -> Callable[[SeedRun], Seed]:
    return lambda run: [run.columns(role, cell)]


def _ensemble(network: str, measure: str) -> Callable[[SeedRun], Seed]:
    """Of the realisations; where they are too few for an interval, the one value of the metrics
    table.
    """

    def values(run: SeedRun) -> Seed:
        try:
            return [run.columns(roles.LESION, (network, "v2", measure))]
        except Missing:
            table = read_table(run.root / "metrics" / "metrics.csv", METRICS)
            where = {"role": roles.LESION, "protocol": "v2", "network": network, "measure": measure}
            for column, wanted in where.items():
                table = table[table[column] == wanted]
            if not len(table):
                raise
            return [[np.array([[float(table["value"].mean())]])]]

    return values
