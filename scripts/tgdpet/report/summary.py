"""The one screen at the end of a run: the main numbers, where things lie, what to do next."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from ..evaluation.estimates import TASKS, UNSEEN, read_estimates, read_table1, wide
from ..evaluation.results import Results, records
from ..evaluation.timing import saved, times
from ..figures import drawn

WIDTH = 100


def screen(results: Results) -> str:
    """The text: at most 40 lines of 100 columns with the paper's networks."""
    path = results.metrics_path("estimates")
    estimates = read_estimates(path)
    bases = {name: entry.base for name, entry in results.config.networks.items()}

    lines = [
        *_table1(read_table1(path)),
        *_tasks(wide(estimates, TASKS), bases),
        *_unseen(wide(estimates, tuple(UNSEEN))),
        *_time(results),
        *_files(results),
        "Simulated data; not for diagnosis.",
    ]
    return "\n".join(line[:WIDTH] for line in lines)


def number(value: float, digits: int = 2) -> str:
    """A number for people; a dash where there is none."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def _cells(network: str, cells: Sequence[str], widths: Sequence[int]) -> str:
    """A line of a table: the network, then cells to the right of columns of these widths."""
    columns = [f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)]
    return f"  {network:<16}" + "".join(columns)


def _table1(rows: pd.DataFrame) -> list[str]:
    widths = (14, 10, 14, 10)
    heads = ("lesion bias %", "(paper)", "liver CoV %", "(paper)")
    lines = [
        "",
        "Table 1: low-BMI study with a lesion, v2 images",
        _cells("network", heads, widths),
    ]

    for row in records(rows):
        cells = (
            number(row.lesion_bias),
            _paper(row.paper_lesion_bias),
            number(row.liver_cov),
            _paper(row.paper_liver_cov),
        )
        lines.append(_cells(row.network, cells, widths))

    return lines


def _paper(value: float) -> str:
    return f"({number(value)})" if math.isfinite(value) else ""


def _tasks(rows: pd.DataFrame, bases: dict[str, str | None]) -> list[str]:
    """Errors on the old task and on the new one, and what a network gained and forgot."""
    heads = ("v1 images", "v2 images", "gain on v2", "forgotten on v1")
    lines = [
        "",
        "Old task and new: RMSE against the whole scan, Bq/mL",
        _cells("network", heads, (14, 14, 13, 18)),
    ]

    for row in records(rows):
        errors = (number(row.rmse_v1, 0), number(row.rmse_v2, 0))
        line = _cells(row.network, errors, (14, 14))

        if not math.isnan(row.gain):
            gained = number(row.gain, 1)
            forgotten = number(row.forgotten, 1)
            line += f"{gained:>11} %{forgotten:>16} %  (from {bases[row.network]})"

        lines.append(line)

    return lines


def _unseen(rows: pd.DataFrame) -> list[str]:
    """Errors at organs unlike any in training; nothing where there are none."""
    if not len(rows):
        return []

    widths = (14, 14)
    lines = [
        "",
        "Unseen organs: error against the whole scan, %",
        _cells("network", ("bladder", "catheter"), widths),
    ]

    for row in records(rows):
        cells = (number(row.bladder_error, 1), number(row.catheter_error, 1))
        lines.append(_cells(row.network, cells, widths))

    return lines


def _time(results: Results) -> list[str]:
    percent = saved(times(results), "measured")

    if not math.isfinite(percent):
        return []

    return [
        "",
        f"Time: TGD took {percent:.0f} % less time than a new network from scratch (paper: 64 %)",
    ]


def _files(results: Results) -> list[str]:
    """Where things lie, and what to do next."""
    root = results.root
    figures = drawn(results.config)
    made = [name for name in figures if (root / "figures" / f"{name}.png").exists()]
    return [
        "",
        f"Report   {root}/report.html",
        f"Figures  {root}/figures/: {len(made)} of {len(figures)}, .png .pdf .csv",
        f"Numbers  {root}/metrics/: metrics.csv; findings.csv, what was reproduced",
        "Next     snakemake --configfile config/paper.yaml -n    what the paper's scale would cost",
        "         snakemake figures                              draw again, nothing retrained",
    ]
