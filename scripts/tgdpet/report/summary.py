"""The one screen at the end of a run: Table 1, gain and retention, where things lie, what to do
next.
"""

from __future__ import annotations

import math

import pandas as pd

from ..config import roles
from ..config.roles import BOTH_PROTOCOLS
from ..evaluation.results import INPUT, Results, records
from ..evaluation.timing import saved, times
from ..figures import drawn
from ..figures.table1 import table

WIDTH = 100
BLADDER = ((roles.BLADDER, "bladder_error"), (roles.CATHETER, "catheter_error"))


def retention(results: Results) -> pd.DataFrame:
    """RMSE (Bq/mL) on v1 images (old task) and v2 images (new task) per network, and changes in %
    of the base.

    Columns network, base, rmse_v1, rmse_v2, gain (how much better on v2 than the network it was
    made from) and forgotten (how much worse on v1); nan for networks made from scratch.
    """
    entries = results.config.networks
    errors = {
        n: tuple(_rmse(results, n, p) for p in ("v1", "v2"))
        for n in (INPUT, *results.population(()))
    }
    rows = []
    for network, (old, new) in errors.items():
        base = entries[network].base if network in entries else None
        if base in errors:
            rows.append(
                (
                    network,
                    base,
                    old,
                    new,
                    100 * (1 - new / errors[base][1]),
                    100 * (old / errors[base][0] - 1),
                )
            )
        else:
            rows.append((network, "", old, new, math.nan, math.nan))
    return pd.DataFrame(
        rows, columns=["network", "base", "rmse_v1", "rmse_v2", "gain", "forgotten"]
    )


def online(results: Results) -> pd.DataFrame:
    """Errors (%) at the unseen bladder and catheter: columns network, bladder_error,
    catheter_error.
    """
    names = (INPUT, *results.population(("v2-net", "TGD-net")), *results.online())
    rows = [(n, *(results.measured(measure, role, n) for role, measure in BLADDER)) for n in names]
    return pd.DataFrame(rows, columns=["network", *(measure for _, measure in BLADDER)])


def screen(results: Results) -> str:
    """The text: at most 40 lines of 100 columns with the paper's networks."""
    lines = ["", "Table 1: low-BMI study with a lesion, v2 images", *_table1(table(results))]
    lines += [
        "",
        "Old task and new: RMSE against the whole scan, Bq/mL",
        *_retention(retention(results)),
    ]
    errors = online(results)
    if errors[[m for _, m in BLADDER]].notna().any(axis=None):
        lines += ["", "Unseen organs: error against the whole scan, %", *_online(errors)]
    share = saved(times(results), "measured")
    if math.isfinite(share):
        lines += [
            "",
            f"Time: TGD took {share:.0f} % less time than a new network from scratch (paper: 64 %)",
        ]
    figures = drawn(results.config)
    made = [f for f in figures if (results.root / "figures" / f"{f}.png").exists()]
    lines += [
        "",
        f"Report   {results.root}/report.html",
        f"Figures  {results.root}/figures/: {len(made)} of {len(figures)}, .png .pdf .csv",
        f"Numbers  {results.root}/metrics/: metrics.csv; findings.csv, what was found again and what not",
        "Next     snakemake --configfile config/paper.yaml -n    what the paper's scale would cost",
        "         snakemake figures                              draw again, nothing retrained",
        "Simulated data; not for diagnosis.",
    ]
    return "\n".join(line[:WIDTH] for line in lines)


def _rmse(results: Results, network: str, protocol: str) -> float:
    values = [results.measured("rmse", role, network, protocol) for role in BOTH_PROTOCOLS]
    return float(pd.Series(values).mean())


def _table1(rows: pd.DataFrame) -> list[str]:
    out = [
        f"  {'network':<16}{'lesion bias %':>14}{'(paper)':>10}{'liver CoV %':>14}{'(paper)':>10}"
    ]
    for r in records(rows):
        out.append(f"  {r.network:<16}{number(r.lesion_bias):>14}{_paper(r.paper_lesion_bias):>10}"
                   f"{number(r.liver_cov):>14}{_paper(r.paper_liver_cov):>10}")  # fmt: skip
    return out


def _retention(rows: pd.DataFrame) -> list[str]:
    out = [
        f"  {'network':<16}{'v1 images':>14}{'v2 images':>14}{'gain on v2':>13}{'forgotten on v1':>18}"
    ]
    for r in records(rows):
        tail = (
            f"{number(r.gain, 1):>11} %{number(r.forgotten, 1):>16} %  (from {r.base})"
            if r.base
            else ""
        )
        out.append(f"  {r.network:<16}{number(r.rmse_v1, 0):>14}{number(r.rmse_v2, 0):>14}{tail}")
    return out


def _online(rows: pd.DataFrame) -> list[str]:
    out = [f"  {'network':<16}{'bladder':>14}{'catheter':>14}"]
    for r in records(rows):
        out.append(
            f"  {r.network:<16}{number(r.bladder_error, 1):>14}{number(r.catheter_error, 1):>14}"
        )
    return out


def number(value: float, digits: int = 2) -> str:
    """A number for people; a dash where there is none."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def _paper(value: float) -> str:
    return f"({number(value)})" if math.isfinite(value) else ""
