"""The supplement's time table: a new protocol from scratch against TGD, by benchmarks and logs."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.results import Results
from ..evaluation.timing import PAPER_HOURS, STEPS, saved, times
from .style import LIGHT_GREY, PALETTE, WIDTH_IN

STEP_COLOURS = (PALETTE[0], LIGHT_GREY, PALETTE[1])


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Stacked bars of the jobs' time for both ways, ours; the paper's times are in the table."""
    table = times(results)
    figure, ax = plt.subplots(figsize=(WIDTH_IN, 1.9), layout="constrained")
    totals_min = _draw_bars(ax, table)

    for way, total_min in totals_min.items():
        ax.annotate(
            f"{total_min:.1f} min",
            (total_min, way),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
        )

    longest_min = max(totals_min.values())
    ax.set_ylim(1.6, -0.6)
    ax.set_xlim(0, max(longest_min * 1.15, 1e-3))
    ax.set_xlabel("time of all jobs, one after the other (min)")
    ax.set_title(_headline(table), loc="left")
    ax.legend(ncol=3, loc="lower right", bbox_to_anchor=(1, 0.98))
    return figure, table


def _draw_bars(ax: Axes, table: pd.DataFrame) -> dict[str, float]:
    """A bar for each way, of its steps; returns its length, minutes."""
    measured = table[table.source == "measured"].set_index(["way", "step"])
    total_min = dict.fromkeys(PAPER_HOURS, 0.0)

    for colour, step in zip(STEP_COLOURS, STEPS, strict=True):
        for way in PAPER_HOURS:
            step_min = float(measured.wall_s[way, step]) / 60
            label = step if way == "TGD" else None
            ax.barh(way, step_min, left=total_min[way], color=colour, label=label)
            total_min[way] += step_min

    return total_min


def _headline(table: pd.DataFrame) -> str:
    measured = saved(table, "measured")
    paper = saved(table, "paper")

    if not math.isfinite(measured):
        expected = table.expected.sum()
        missing = expected - table.files.sum()
        return f"{missing} of {expected} jobs not measured in this folder"

    return f"TGD saves {measured:.0f} % (paper: {paper:.0f} %, 20.8 to 7.4 weeks)"
