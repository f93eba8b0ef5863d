"""Table 1: lesion bias and liver CoV of the networks on v2 images, beside the paper's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..evaluation.estimates import TABLE1, n_realisations, read_table1
from ..evaluation.results import INPUT, Results, records
from .style import GREY, LIGHT_GREY, WIDTH_IN, number_text

COLUMNS_X = {
    "lesion_bias": 0.46,
    "liver_cov": 0.70,
    "paper_lesion_bias": 0.85,
    "paper_liver_cov": 1.0,
}
COLUMN_HEADS = {
    "lesion_bias": "lesion\nbias (%)",
    "liver_cov": "liver\nCoV (%)",
    "paper_lesion_bias": "paper:\nbias (%)",
    "paper_liver_cov": "paper:\nCoV (%)",
}
POINT_LABELS = {
    "lesion_bias": "lesion bias (%)",
    "liver_cov": "liver CoV (%), ensemble",
}
HEAD_LINES = 1.6  # in heights of a row


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """The table, and beside each of its rows the same numbers as points."""
    rows = read_table1(results.metrics_path("estimates"))

    figure, (table, *panels) = plt.subplots(
        1,
        1 + len(TABLE1),
        figsize=(WIDTH_IN, 0.7 + 0.29 * len(rows)),
        width_ratios=(2.2, *(1 for _ in TABLE1)),
        sharey=True,
        layout="constrained",
    )
    _write_table(table, rows)

    for ax, column in zip(panels, TABLE1, strict=True):
        _draw_column(ax, rows, column)

    _write_legend(panels[-1])
    return figure, rows


def _row_y(i: int, n_lines: float) -> float:
    return 1 - (i + 2.1) / n_lines


def _network_name(network: str) -> str:
    return "noisy input" if network == INPUT else network


def _write_table(ax: Axes, rows: pd.DataFrame) -> None:
    ax.axis("off")
    best = _best_networks(rows)
    n_lines = len(rows) + HEAD_LINES

    for column, x in COLUMNS_X.items():
        colour = GREY if "paper" in column else "black"
        head_y = 1 - 0.75 / n_lines
        ax.text(x, head_y, COLUMN_HEADS[column], ha="right", va="center", color=colour)

    for i, row in enumerate(records(rows)):
        y = _row_y(i, n_lines)
        ax.text(0, y, _network_name(row.network), va="center")

        for column in TABLE1:
            weight = "bold" if best.get(column) == row.network else "normal"
            _write_ours(ax, y, row, column, weight, n_lines)
            _write_papers(ax, y, row, column)

    for y, width in ((1.0, 0.9), (1 - 1.5 / n_lines, 0.5), (0.0, 0.9)):
        ax.plot((0, 1), (y, y), color="black", lw=width, clip_on=False)

    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)


def _best_networks(rows: pd.DataFrame) -> dict[str, str]:
    """Column -> the network with the smallest number."""
    networks = rows[rows.network != INPUT].set_index("network")
    measured = [column for column in TABLE1 if networks[column].notna().any()]
    return {column: str(networks[column].abs().idxmin()) for column in measured}


def _write_ours(ax: Axes, y: float, row: Any, column: str, weight: str, n_lines: float) -> None:
    """A number of ours, with its interval below it."""
    x = COLUMNS_X[column]
    text = _number(getattr(row, column))
    interval = _interval_text(row, column)

    if not interval:
        ax.text(
            x,
            y,
            text,
            ha="right",
            va="center",
            weight=weight,
            color="black",
        )
        return

    ax.text(
        x,
        y + 0.17 / n_lines,
        text,
        ha="right",
        va="center",
        weight=weight,
        color="black",
    )
    ax.text(
        x,
        y - 0.23 / n_lines,
        interval,
        ha="right",
        va="center",
        color=GREY,
        fontsize=5.8,
    )


def _write_papers(ax: Axes, y: float, row: Any, column: str) -> None:
    papers = f"paper_{column}"
    text = _number(getattr(row, papers))
    ax.text(COLUMNS_X[papers], y, text, ha="right", va="center", color=GREY)


def _number(value: float) -> str:
    return "–" if pd.isna(value) else number_text(value, 2)


def _interval_text(row: Any, column: str) -> str:
    """The interval of a cell, or that there is none; empty where nothing was measured."""
    low = getattr(row, f"{column}_low")
    high = getattr(row, f"{column}_high")
    images = getattr(row, f"{column}_n")

    if pd.isna(images):
        return ""

    if pd.isna(low):
        return n_realisations(images)

    return f"{number_text(low, 2)} to {number_text(high, 2)}"


def _draw_column(ax: Axes, rows: pd.DataFrame, column: str) -> None:
    """A column's numbers as points with their intervals, each beside its row of the table."""
    low, high = shown_range(rows, column)
    n_lines = len(rows) + HEAD_LINES

    for i, row in enumerate(records(rows)):
        y = _row_y(i, n_lines)
        ax.axhline(y, color=LIGHT_GREY, lw=0.5, zorder=0)
        ax.plot(getattr(row, f"paper_{column}"), y, "o", mfc="white", mec=GREY, ms=5)
        value = getattr(row, column)

        if pd.isna(value):
            continue

        if low <= value <= high:
            colour = GREY if row.network == INPUT else "black"
            bars = _bars(row, column)
            ax.errorbar(value, y, xerr=bars, fmt="o", color=colour, ms=4, lw=0.9)
        else:
            _point_outside(ax, y, is_above=value > high)

    ax.axvline(0, color=GREY, lw=0.7, zorder=0)
    ax.set_xlim(low, high)
    ax.set_xlabel(POINT_LABELS[column])
    ax.tick_params(left=False)
    ax.spines["left"].set_visible(False)


def shown_range(rows: pd.DataFrame, column: str) -> tuple[float, float]:
    """What a column's axis spans: the networks; the noisy input only where it lies near them."""
    ends = [column, f"{column}_low", f"{column}_high", f"paper_{column}"]
    of_networks = rows.loc[rows.network != INPUT, ends].to_numpy(float)

    if np.isnan(of_networks).all():
        return 0.0, 1.0

    low = float(np.nanmin(of_networks))
    high = float(np.nanmax(of_networks))
    span = high - low
    noisy = rows[rows.network == INPUT]

    for row in records(noisy):
        if low - span <= getattr(row, column) <= high + span:
            ends_of_row = [getattr(row, end) for end in ends[:3]]
            low = float(np.nanmin([low, *ends_of_row]))
            high = float(np.nanmax([high, *ends_of_row]))

    margin = 0.08 * (high - low) or 0.5
    return low - margin, high + margin


def _point_outside(ax: Axes, y: float, *, is_above: bool) -> None:
    """An arrow head at the axis' end for a number beyond it, which the table has."""
    end = 1.0 if is_above else 0.0
    marker = ">" if is_above else "<"
    across = ax.get_yaxis_transform()
    ax.plot(end, y, marker, color=GREY, ms=5, transform=across, clip_on=False)


def _write_legend(ax: Axes) -> None:
    """What filled and open points are, in the line of the table's heads."""
    ours = Line2D([], [], color="black", marker="o", ms=4, lw=0.9)
    papers = Line2D([], [], ls="none", marker="o", mfc="white", mec=GREY, ms=5)
    ax.legend(
        [ours, papers],
        ["measured", "paper"],
        loc="upper right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=2,
        handletextpad=0.3,
        columnspacing=1.0,
        borderaxespad=0.0,
    )


def _bars(row: Any, column: str) -> list[list[float]] | None:
    """Lengths left and right of an error bar; percentiles may leave the mean just outside."""
    value = getattr(row, column)
    low = getattr(row, f"{column}_low")
    high = getattr(row, f"{column}_high")

    if pd.isna(low):
        return None

    return [[max(value - low, 0)], [max(high - value, 0)]]
