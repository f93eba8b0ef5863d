"""The findings as a forest plot: every claim's effect with its interval, and the claimed side."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..evaluation.findings import TITLES, read_findings
from ..evaluation.results import Results, records
from .style import GREY, PALETTE, WIDTH_IN, number_text

MARKS: dict[str, dict[str, Any]] = {
    "yes": {"marker": "o", "color": PALETTE[0], "mfc": PALETTE[0]},
    "unclear": {"marker": "o", "color": GREY, "mfc": "white"},
    "no": {"marker": "X", "color": PALETTE[1], "mfc": "white"},
}
LEGEND = {"yes": "holds", "unclear": "unclear", "no": "does not hold"}
PAPER: dict[str, Any] = {
    "marker": "D",
    "ms": 3.4,
    "mfc": "none",
    "color": "black",
    "mew": 0.7,
}
SHADE = "#e8f0f7"
ROW_FONT_PT = 6.6
EFFECT_MARK_PT = 4.6
# Heights: a row, what is above and below a panel's rows, and the legend.
ROW_IN = 0.158
ABOVE_IN = 0.2
BELOW_IN = 0.24
LEGEND_IN = 0.32
# From the left: the measures, a panel and its width, right ends of the numbers and of the verdicts.
MEASURE_IN = 0.12
PANEL_IN = 3.05
PANEL_WIDTH_IN = 1.95
NUMBERS_IN = 6.44
VERDICT_IN = 6.88
# Rows so many times farther from zero than the middle one of a panel are pointed at from its edge.
FAR = 8


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """One panel a finding with its own scale, as effects of findings are not to be compared."""
    table = read_findings(results.metrics_path("findings"))
    return forest(table), table


def forest(table: pd.DataFrame) -> Figure:
    """The plot of a table of findings, of any number of seeds."""
    groups = list(table.groupby("finding", sort=True))
    panels_in = sum(len(rows) * ROW_IN + ABOVE_IN + BELOW_IN for _, rows in groups)
    height_in = LEGEND_IN + panels_in
    figure = plt.figure(figsize=(WIDTH_IN, height_in))
    top_in = height_in - LEGEND_IN

    for number, rows in groups:
        title = f"{number}  {TITLES[int(str(number))]}"
        title_y = (top_in - 0.12) / height_in
        figure.text(0.0, title_y, title, weight="bold", va="center", fontsize=7.5)

        rows_in = len(rows) * ROW_IN
        box = (
            PANEL_IN / WIDTH_IN,
            (top_in - ABOVE_IN - rows_in) / height_in,
            PANEL_WIDTH_IN / WIDTH_IN,
            rows_in / height_in,
        )
        _draw_panel(figure.add_axes(box), rows)
        top_in -= ABOVE_IN + rows_in + BELOW_IN

    _draw_legend(figure)
    heads_y = 1 - LEGEND_IN / height_in

    for x_in, head in ((NUMBERS_IN, "effect (interval)"), (VERDICT_IN, "holds")):
        figure.text(
            x_in / WIDTH_IN,
            heads_y,
            head,
            ha="right",
            va="top",
            fontsize=ROW_FONT_PT,
        )

    return figure


def effect_text(row: Any) -> str:
    """Effect and interval with as many digits as their size asks for.

    "%" where the unit is not points.
    """
    numbers = [value for value in (row.effect, row.low, row.high) if not math.isnan(value)]
    digits = 2 if max(map(abs, numbers)) < 10 else 1
    effect, *ends = (number_text(value, digits) for value in numbers)
    unit = " %" if str(row.unit).startswith("%") else ""

    if len(ends) < 2:
        return f"{effect}{unit}"

    low, high = ends
    return f"{effect}{unit} ({low} to {high})"


def _draw_panel(ax: Axes, rows: pd.DataFrame) -> None:
    low, high = _limits(rows)
    ax.set_xlim(low, high)
    ax.set_ylim(len(rows) - 0.5, -0.5)

    for y, row in enumerate(records(rows)):
        claimed_end = high if row.claimed == "above 0" else low
        ax.barh(y, claimed_end, height=0.86, color=SHADE, zorder=0)

        if low <= row.effect <= high:
            _draw_effect(ax, y, row)
        else:
            _point_at_effect(ax, y, row, low, high)

        if not math.isnan(row.paper):
            ax.plot(row.paper, y, ls="none", zorder=5, **PAPER)

        _write_row(ax, y, row)

    ax.axvline(0, color="black", lw=0.7, zorder=1)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.tick_params(
        axis="x",
        labelsize=6.5,
        pad=1.5,
        length=2.5,
    )
    ax.locator_params(axis="x", nbins=5)


def _draw_effect(ax: Axes, y: int, row: Any) -> None:
    """The effect as a mark, its interval as a bar."""
    mark = MARKS[row.holds]

    if not math.isnan(row.low):
        ax.plot(
            (row.low, row.high),
            (y, y),
            color=mark["color"],
            lw=1.1,
            solid_capstyle="butt",
            zorder=3,
        )

    ax.plot(
        row.effect,
        y,
        ls="none",
        ms=EFFECT_MARK_PT,
        mew=1.0,
        zorder=4,
        **mark,
    )


def _point_at_effect(ax: Axes, y: int, row: Any, low: float, high: float) -> None:
    """A triangle at the panel's edge, for an effect beyond it."""
    below = row.effect < low
    mark = {**MARKS[row.holds], "marker": "<" if below else ">"}
    ax.plot(
        low if below else high,
        y,
        ls="none",
        ms=EFFECT_MARK_PT,
        zorder=4,
        clip_on=False,
        **mark,
    )


def _write_row(ax: Axes, y: int, row: Any) -> None:
    """Left of a row what is measured, right of it the numbers and whether the claim holds."""
    measure = str(row.measure).replace("phi", "φ")
    _write(ax, MEASURE_IN, y, measure, ha="left", color="black")
    _write(ax, NUMBERS_IN, y, effect_text(row), ha="right", color="black")
    _write(ax, VERDICT_IN, y, row.holds, ha="right", color=MARKS[row.holds]["color"])


def _write(ax: Axes, x_in: float, y: int, text: str, **options: Any) -> None:
    """Text beside a panel, `x_in` from the figure's left."""
    x = (x_in - PANEL_IN) / PANEL_WIDTH_IN
    ax.text(
        x,
        y,
        text,
        va="center",
        fontsize=ROW_FONT_PT,
        transform=ax.get_yaxis_transform(),
        **options,
    )


def _limits(rows: pd.DataFrame) -> tuple[float, float]:
    """Ends of a panel's scale: all that is not far, and zero."""
    size = rows.effect.abs()
    near = rows[size <= FAR * size.median()]
    values = near[["effect", "low", "high", "paper"]].to_numpy(float)

    low = min(0.0, float(np.nanmin(values)))
    high = max(0.0, float(np.nanmax(values)))
    margin = 0.08 * max(high - low, 1e-6)
    return low - margin, high + margin


def _draw_legend(figure: Figure) -> None:
    handles: list[Any] = []

    for verdict, mark in MARKS.items():
        handles.append(
            Line2D(
                [],
                [],
                lw=1.1,
                ms=EFFECT_MARK_PT,
                label=LEGEND[verdict],
                **mark,
            )
        )

    handles.append(Line2D([], [], ls="none", label="paper", **PAPER))
    handles.append(Patch(color=SHADE, label="claimed side"))
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(-0.01, 1.0),
        ncol=len(handles),
        columnspacing=1.4,
        handletextpad=0.5,
        borderaxespad=0,
    )
