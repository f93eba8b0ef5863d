"""The choice of phi: what is below it, and what a network retrained there gains and forgets."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..config.sweep import PLAIN
from ..evaluation.phi import phi_name, read_choice
from ..evaluation.results import Results
from .style import GREY, LIGHT_GREY, PALETTE, WIDTH_IN, letter

MAX_TICKS = 6
CROWDED = 0.12  # of the axis: ticks as near to the last would run into it


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Three panels against phi, plain fine-tuning at the right end, the recommended phi marked."""
    table = read_choice(results.metrics_path("phi"))
    x = _positions(table)
    best = int(table.index[table.recommended == "yes"][0])
    recommended = f"recommended: {phi_name(table.phi[best])}"

    figure, axes = plt.subplots(1, 3, figsize=(WIDTH_IN, 2.9), layout="constrained")
    below, gain, forgetting = axes

    below.plot(x, table.kernels, "s-", ms=3.5, color=PALETTE[0], label="kernels below φ")
    below.plot(x, table.parameters, "^:", ms=3.5, color=GREY, label="parameters below φ")
    _draw_curve(below, table, "change", PALETTE[1], "image change when these are dropped")
    below.set_title("below φ")
    below.set_ylabel("of the base (%)")

    _draw_curve(gain, table, "gain", PALETTE[0])
    gain.axhline(0, color=LIGHT_GREY, lw=0.7, zorder=0)
    gain.set_title("gain on the new task")
    gain.set_ylabel("less loss on new images (%)")

    _draw_curve(forgetting, table, "forgetting", PALETTE[1])
    forgetting.axhline(0, color=LIGHT_GREY, lw=0.7, zorder=0)
    forgetting.set_title("forgetting of the old task")
    forgetting.set_ylabel("more loss on old images (%)")
    allowed = forgetting.axhline(float(table.allowed.iloc[0]), color=GREY, lw=0.8, ls=":")

    for ax, text in zip(axes, "abc", strict=True):
        ax.axvline(
            x[best],
            color="black",
            lw=0.9,
            ls="--",
            zorder=0,
            label=recommended,
        )
        ax.set_xticks(*_ticks(x))
        ax.set_xlabel("φ (all: plain fine-tuning)")
        letter(ax, text)

    handles, labels = below.get_legend_handles_labels()
    figure.legend(
        [*handles, allowed],
        [*labels, "forgetting allowed: half of plain fine-tuning's"],
        loc="outside upper left",
        ncol=3,
        columnspacing=1.2,
    )
    return figure, table


def _positions(table: pd.DataFrame) -> npt.NDArray[np.floating]:
    """Where each phi is drawn: itself, and plain fine-tuning to the right of the largest."""
    plain = table.phi == PLAIN
    largest = table.phi[~plain].max()
    return np.where(plain, 1.15 * largest, table.phi)


def _ticks(x: npt.NDArray[np.floating]) -> tuple[list[float], list[str]]:
    """Positions and labels: at most six phi, evenly taken, and `all`."""
    *phis, last = x
    every = -(-len(phis) // MAX_TICKS)
    shown = phis[::every]

    if last - shown[-1] < CROWDED * last:
        shown = shown[:-1]

    labels = [f"{phi:g}" for phi in shown]
    return [*shown, last], [*labels, "all"]


def _draw_curve(
    ax: Axes, table: pd.DataFrame, column: str, colour: str, label: str | None = None
) -> None:
    """A column with its intervals; plain fine-tuning, the last row, apart from the others."""
    x = _positions(table)
    y = table[column].to_numpy(float)
    below = y - table[f"{column}_low"]
    above = table[f"{column}_high"] - y
    bars = np.stack([below, above]).astype(float).clip(0)

    swept = slice(None, -1)
    plain = slice(-1, None)

    for part, style, part_label in ((swept, "o-", label), (plain, "D", None)):
        if not np.isfinite(y[part]).any():
            continue

        no_interval = np.isnan(bars[:, part]).any()
        ax.errorbar(
            x[part],
            y[part],
            None if no_interval else bars[:, part],
            fmt=style,
            ms=4,
            lw=1.2,
            elinewidth=0.8,
            color=colour,
            label=part_label,
        )

    ax.plot(x[-2:], y[-2:], ":", lw=0.9, color=colour)
