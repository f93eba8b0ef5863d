"""Table 1: lesion bias and liver CoV of the networks on v2 images, beside the paper's."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.estimates import TABLE1, n_realisations, read_table1
from ..evaluation.results import INPUT, Results, records
from .style import GREY, LIGHT_GREY, PALETTE, WIDTH_IN, number_text

COLUMNS_X = {
    "lesion_bias": 0.46,
    "liver_cov": 0.70,
    "paper_lesion_bias": 0.86,
    "paper_liver_cov": 1.0,
}
COLUMN_HEADS = {
    "lesion_bias": "lesion\nbias (%)",
    "liver_cov": "liver\nCoV (%)",
    "paper_lesion_bias": "paper:\nbias (%)",
    "paper_liver_cov": "paper:\nCoV (%)",
}
HEAD_LINES = 1.6  # in heights of a row


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """The table, and the same numbers as points: right and up is less bias and more noise."""
    rows = read_table1(results.metrics_path("estimates"))

    figure, (left, right) = plt.subplots(
        1,
        2,
        figsize=(WIDTH_IN, max(2.5, 0.32 * len(rows))),
        width_ratios=(1.7, 1),
        layout="constrained",
    )
    _write_table(left, rows)
    _draw_points(right, rows)
    return figure, rows


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
        y = 1 - (i + 2.1) / n_lines
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


def _draw_points(ax: Axes, rows: pd.DataFrame) -> None:
    marks = [(GREY, "o"), *((colour, marker) for marker in "osD^v" for colour in PALETTE)]

    for (colour, marker), row in zip(marks, records(rows), strict=False):
        ax.errorbar(
            row.liver_cov,
            row.lesion_bias,
            _bars(row, "lesion_bias"),
            _bars(row, "liver_cov"),
            fmt=marker,
            color=colour,
            ms=5,
            lw=0.9,
            label=_network_name(row.network),
        )
        ax.plot(
            row.paper_liver_cov,
            row.paper_lesion_bias,
            marker,
            mfc="none",
            mec=colour,
            ms=6,
        )

    ax.axhline(0, color=LIGHT_GREY, lw=0.7, zorder=0)
    ax.set_xlabel("liver CoV (%), ensemble")
    ax.set_ylabel("lesion bias (%)")
    ax.plot(
        [],
        [],
        "o",
        mfc="none",
        mec=GREY,
        ms=6,
        label="open: paper",
    )
    ax.legend(
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        handletextpad=0.2,
        borderaxespad=0.2,
    )


def _bars(row: Any, column: str) -> list[list[float]] | None:
    """Lengths below and above of an error bar; percentiles may leave the mean just outside."""
    value = getattr(row, column)
    low = getattr(row, f"{column}_low")
    high = getattr(row, f"{column}_high")

    if pd.isna(low):
        return None

    return [[max(value - low, 0)], [max(high - value, 0)]]
