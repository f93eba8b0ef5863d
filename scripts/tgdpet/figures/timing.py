"""The supplement's time table: a new protocol from scratch against TGD (a few studies), by
benchmark files and logs.
"""

from __future__ import annotations

import math

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ..evaluation.results import Results
from ..evaluation.timing import PAPER_HOURS, STEPS, saved, times
from .style import PALETTE, WIDTH_IN


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Stacked bars of the jobs' time for both ways, ours; the paper's total and training times in
    the table.
    """
    table = times(results)
    figure, ax = plt.subplots(figsize=(WIDTH_IN, 1.9), layout="constrained")
    ours = table[table.source == "measured"]
    left = dict.fromkeys(PAPER_HOURS, 0.0)
    for colour, step in zip((PALETTE[0], "#bbbbbb", PALETTE[1]), STEPS, strict=True):
        for way in PAPER_HOURS:
            value = float(ours[(ours.way == way) & (ours.step == step)].wall_s.iloc[0]) / 60
            ax.barh(way, value, left=left[way], color=colour, label=step if way == "TGD" else None)
            left[way] += value
    for way, total in left.items():
        ax.annotate(
            f"{total:.1f} min", (total, way), xytext=(3, 0), textcoords="offset points", va="center"
        )
    ax.set_ylim(1.6, -0.6)
    ax.set_xlim(0, max(max(left.values()) * 1.15, 1e-3))
    ax.set_xlabel("time of all jobs, one after the other (min)")
    ax.set_title(_headline(table), loc="left")
    ax.legend(ncol=3, loc="lower right", bbox_to_anchor=(1, 0.98))
    return figure, table


def _headline(table: pd.DataFrame) -> str:
    share, paper = saved(table, "measured"), saved(table, "paper")
    if not math.isfinite(share):
        missing = table.expected.sum() - table.files.sum()
        return f"{missing} of {table.expected.sum()} jobs not measured in this folder"
    return f"TGD saves {share:.0f} % (paper: {paper:.0f} %, 20.8 to 7.4 weeks)"
