"""Table 1: lesion bias and liver CoV of the networks on v2 images, beside the paper's."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.estimates import TABLE1, read, wide
from ..evaluation.results import INPUT, PAPER_TABLE1, Results, records
from .style import GREY, PALETTE, WIDTH_IN

HEADS = ["", "lesion\nbias (%)", "liver\nCoV (%)", "paper:\nbias (%)", "paper:\nCoV (%)"]


def table(results: Results) -> pd.DataFrame:
    """Columns network, lesion_bias, liver_cov (each also _low, _high, _n), paper_lesion_bias,
    paper_liver_cov, in %.

    The input comes first. Means over seeds with 95 % intervals, as metrics/estimates.csv has them.
    """
    rows = wide(read(results.root / "metrics" / "estimates.csv"), TABLE1)
    for column, name in enumerate(TABLE1):
        rows[f"paper_{name}"] = [
            PAPER_TABLE1.get(n, (float("nan"),) * 2)[column] for n in rows.network
        ]
    return rows


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """The table, and the same numbers as points with their intervals: right and up is less bias and
    more noise.
    """
    rows = table(results)
    size = (WIDTH_IN, max(2.5, 0.32 * len(rows)))
    figure, (left, right) = plt.subplots(
        1, 2, figsize=size, width_ratios=(1.7, 1), layout="constrained"
    )
    _grid(left, rows)
    _points(right, rows)
    return figure, rows


def _grid(ax: Axes, rows: pd.DataFrame) -> None:
    ax.axis("off")
    networks = rows[rows.network != INPUT]
    best = {
        name: networks[name].abs().idxmin()
        for name in ("lesion_bias", "liver_cov")
        if networks[name].notna().any()
    }
    n = len(rows) + 1.6
    xs = (0.0, 0.46, 0.70, 0.86, 1.0)
    for x, head in zip(xs, HEADS, strict=True):
        colour = GREY if "paper" in head else "black"
        ax.text(x, 1 - 0.75 / n, head, ha="right" if x else "left", va="center", color=colour)
    for i, row in enumerate(records(rows)):
        y = 1 - (i + 2.1) / n
        ax.text(0, y, "noisy input" if row.network == INPUT else row.network, va="center")
        cells = ("lesion_bias", "liver_cov", "paper_lesion_bias", "paper_liver_cov")
        for x, cell in zip(xs[1:], cells, strict=True):
            value, bold = getattr(row, cell), best.get(cell) == row.Index
            text = "–" if pd.isna(value) else f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
            colour, weight = GREY if "paper" in cell else "black", "bold" if bold else "normal"
            span = None if "paper" in cell else _span(row, cell)
            place = y + 0.17 / n if span else y
            ax.text(x, place, text, ha="right", va="center", weight=weight, color=colour)
            if span:
                ax.text(x, y - 0.23 / n, span, ha="right", va="center", color=GREY, fontsize=5.8)
    for y, width in ((1.0, 0.9), (1 - 1.5 / n, 0.5), (1 - (len(rows) + 1.6) / n, 0.9)):
        ax.plot((0, 1), (y, y), color="black", lw=width, clip_on=False)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)


def _span(row: Any, cell: str) -> str:
    """The interval of a cell in words, or that there is none; empty where nothing was measured."""
    low, high, n = (getattr(row, f"{cell}_{end}") for end in ("low", "high", "n"))
    if pd.isna(n):
        return ""
    if pd.isna(low):
        return "one realisation" if n == 1 else f"{n:.0f} realisations"
    return f"{low:.2f} to {high:.2f}".replace("-", "\N{MINUS SIGN}")


def _bars(row: Any, name: str) -> list[list[float]] | None:
    """Lengths below and above of an error bar; percentiles may leave the mean just outside."""
    value, low, high = (getattr(row, name + end) for end in ("", "_low", "_high"))
    return None if pd.isna(low) else [[max(value - low, 0)], [max(high - value, 0)]]


def _points(ax: Axes, rows: pd.DataFrame) -> None:
    looks = [(GREY, "o"), *((colour, marker) for marker in "osD^v" for colour in PALETTE)]
    for (colour, marker), row in zip(looks, records(rows), strict=False):
        label = "noisy input" if row.network == INPUT else row.network
        up, along = _bars(row, "lesion_bias"), _bars(row, "liver_cov")
        ax.errorbar(
            row.liver_cov,
            row.lesion_bias,
            up,
            along,
            fmt=marker,
            color=colour,
            ms=5,
            lw=0.9,
            label=label,
        )
        ax.plot(row.paper_liver_cov, row.paper_lesion_bias, marker, mfc="none", mec=colour, ms=6)
    ax.axhline(0, color="#bbbbbb", lw=0.7, zorder=0)
    ax.set_xlabel("liver CoV (%), ensemble")
    ax.set_ylabel("lesion bias (%)")
    ax.plot([], [], "o", mfc="none", mec=GREY, ms=6, label="open: paper")
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handletextpad=0.2, borderaxespad=0.2)
