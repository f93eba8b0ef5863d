"""The findings as a forest plot: every claim's effect with its interval, beside the side of zero
that is claimed.
"""

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

from ..evaluation.findings import TITLES, read
from ..evaluation.results import Results, records
from .style import GREY, PALETTE, WIDTH_IN

LOOKS: dict[str, dict[str, Any]] = {
    "yes": {"marker": "o", "color": PALETTE[0], "mfc": PALETTE[0]},
    "unclear": {"marker": "o", "color": GREY, "mfc": "white"},
    "no": {"marker": "X", "color": PALETTE[1], "mfc": "white"},
}
PAPER: dict[str, Any] = {"marker": "D", "ms": 3.4, "mfc": "none", "color": "black", "mew": 0.7}
SHADE = "#e8f0f7"
FONT = 6.6
# In inches: a row, what is above and below a panel's rows, and where text and panels lie from left
# to right.
ROW, ABOVE, BELOW, LEGEND = 0.158, 0.2, 0.24, 0.32
LABEL, PANEL, NUMBERS, WORD = 0.12, (3.05, 1.95), 6.44, 6.88
# Rows so many times farther from zero than the middle one of a panel are pointed at from its edge.
FAR = 8


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """One panel a finding with its own scale, as effects of different findings are not to be
    compared.
    """
    table = read(results.root / "metrics" / "findings.csv")
    return forest(table), table


def forest(table: pd.DataFrame) -> Figure:
    """The plot of a table of findings, of any number of seeds."""
    groups = [(number, rows) for number, rows in table.groupby("finding", sort=True)]
    height = LEGEND + sum(len(rows) * ROW + ABOVE + BELOW for _, rows in groups)
    figure = plt.figure(figsize=(WIDTH_IN, height))
    top = height - LEGEND
    for number, rows in groups:
        inner = len(rows) * ROW
        box = (
            PANEL[0] / WIDTH_IN,
            (top - ABOVE - inner) / height,
            PANEL[1] / WIDTH_IN,
            inner / height,
        )
        title = f"{number}  {TITLES[int(str(number))]}"
        figure.text(0.0, (top - 0.12) / height, title, weight="bold", va="center", fontsize=7.5)
        _panel(figure.add_axes(box), rows)
        top -= ABOVE + inner + BELOW
    _legend(figure)
    figure.text(
        NUMBERS / WIDTH_IN,
        1 - LEGEND / height,
        "effect (95 % interval)",
        ha="right",
        va="top",
        fontsize=FONT,
    )
    figure.text(WORD / WIDTH_IN, 1 - LEGEND / height, "holds", ha="right", va="top", fontsize=FONT)
    return figure


def _panel(ax: Axes, rows: pd.DataFrame) -> None:
    low, high = _limits(rows)
    ax.set_xlim(low, high)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    for y, row in enumerate(records(rows)):
        ax.barh(y, high if row.claimed == "above 0" else low, height=0.86, color=SHADE, zorder=0)
        look = LOOKS[row.holds]
        if not low <= row.effect <= high:
            marker, edge = ("<", low) if row.effect < low else (">", high)
            ax.plot(
                edge, y, ls="none", ms=4.6, zorder=4, clip_on=False, **{**look, "marker": marker}
            )
        else:
            if not math.isnan(row.low):
                ax.plot(
                    (row.low, row.high),
                    (y, y),
                    color=look["color"],
                    lw=1.1,
                    solid_capstyle="butt",
                    zorder=3,
                )
            ax.plot(row.effect, y, ls="none", ms=4.6, mew=1.0, zorder=4, **look)
        if not math.isnan(row.paper):
            ax.plot(row.paper, y, ls="none", zorder=5, **PAPER)
        _words(ax, y, row)
    ax.axvline(0, color="black", lw=0.7, zorder=1)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="x", labelsize=6.5, pad=1.5, length=2.5)
    ax.locator_params(axis="x", nbins=5)


def _words(ax: Axes, y: int, row: Any) -> None:
    """Left of a row what is measured, right of it the numbers and whether the claim holds."""
    colour = LOOKS[row.holds]["color"]
    cells = (
        (LABEL, str(row.measure).replace("phi", "φ"), "black"),
        (NUMBERS, effect_text(row), "black"),
        (WORD, row.holds, colour),
    )
    for x, text, ink in cells:
        side = "left" if x == LABEL else "right"
        place = (x - PANEL[0]) / PANEL[1]
        ax.text(
            place,
            y,
            text,
            ha=side,
            va="center",
            fontsize=FONT,
            color=ink,
            transform=ax.get_yaxis_transform(),
        )


def effect_text(row: Any) -> str:
    """Effect and interval with as many digits as their size asks for; "%" where the unit is not
    points.
    """
    numbers = [v for v in (row.effect, row.low, row.high) if not math.isnan(v)]
    digits = 2 if max(map(abs, numbers)) < 10 else 1
    effect, *ends = (f"{v:.{digits}f}".replace("-", "\N{MINUS SIGN}") for v in numbers)
    unit = " %" if str(row.unit).startswith("%") else ""
    return f"{effect}{unit}" + (f" ({ends[0]} to {ends[1]})" if len(ends) == 2 else "")


def _limits(rows: pd.DataFrame) -> tuple[float, float]:
    size = rows.effect.abs()
    near = rows[size <= FAR * size.median()]
    values = near[["effect", "low", "high", "paper"]].to_numpy(float)
    low, high = min(0.0, float(np.nanmin(values))), max(0.0, float(np.nanmax(values)))
    room = 0.08 * max(high - low, 1e-6)
    return low - room, high + room


def _legend(figure: Figure) -> None:
    marks: list[Any] = [
        Line2D(
            [],
            [],
            lw=1.1,
            ms=4.6,
            label="unclear" if word == "unclear" else "holds" if word == "yes" else "does not hold",
            **look,
        )
        for word, look in LOOKS.items()
    ]
    marks.append(Line2D([], [], ls="none", label="paper", **PAPER))
    marks.append(Patch(color=SHADE, label="claimed side"))
    figure.legend(handles=marks, loc="upper left", bbox_to_anchor=(-0.01, 1.0), ncol=len(marks), columnspacing=1.4,
                  handletextpad=0.5, borderaxespad=0)  # fmt: skip
