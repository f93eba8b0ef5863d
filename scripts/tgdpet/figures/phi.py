"""The choice of phi: what is below it, and what a network retrained there gains and forgets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..config.sweep import CHOICE, PLAIN
from ..evaluation.results import Results
from ..evaluation.seed_runs import read_table
from .style import GREY, PALETTE, WIDTH_IN, letter

MAY_LACK = (
    "change",
    "low",
    "high",
)  # nothing is dropped at `PLAIN`; a single seed has no intervals


def read(path: Path) -> pd.DataFrame:
    """Read a table CHOICE; ValueError naming the file for a missing column or value, or where no
    phi is recommended.
    """
    table = read_table(path, [c for c in CHOICE if c.split("_")[-1] not in MAY_LACK])
    if missing := [c for c in CHOICE if c not in table]:
        raise ValueError(f"{path}: column {missing[0]!r} is missing; expected {', '.join(CHOICE)}")
    if (n := (table["recommended"] == "yes").sum()) != 1:
        raise ValueError(f"{path}: column 'recommended': expected yes once, got it {n} times")
    return table


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Three panels against phi, plain fine-tuning of all at the right end, the recommended phi
    marked.
    """
    table = read(results.root / "metrics" / "phi.csv")
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH_IN, 2.9), layout="constrained")
    at = _places(table)
    _below(axes[0], table, at)
    _curve(axes[1], table, at, "gain", PALETTE[0])
    axes[1].set_title("gain on the new task")
    _curve(axes[2], table, at, "forgetting", PALETTE[1])
    axes[2].set_title("forgetting of the old task")
    limit = axes[2].axhline(float(table.allowed.iloc[0]), color=GREY, lw=0.8, ls=":")
    best = int(table.index[table.recommended == "yes"][0])
    for ax, text in zip(axes, "abc", strict=True):
        ax.axvline(
            at[best],
            color="black",
            lw=0.9,
            ls="--",
            zorder=0,
            label=f"recommended: {_name(table.phi[best])}",
        )
        ax.set_xticks(*_ticks(table, at))
        ax.set_xlabel("φ (all: plain fine-tuning)")
        letter(ax, text)
    axes[0].set_ylabel("of the base (%)")
    axes[1].set_ylabel("less loss on new images (%)")
    axes[2].set_ylabel("more loss on old images (%)")
    marks, words = axes[0].get_legend_handles_labels()
    words.append("forgetting allowed: half of plain fine-tuning's")
    figure.legend([*marks, limit], words, loc="outside upper left", ncol=3, columnspacing=1.2)
    return figure, table


def recommendation(root: Path) -> str:
    """The recommended phi of the results folder `root` in a sentence or three, with what it gains
    and forgets.
    """
    table = read(root / "metrics" / "phi.csv")
    best, plain = table[table.recommended == "yes"].iloc[0], table[table.phi == PLAIN].iloc[0]
    text = (
        f"Recommended: {_name(best.phi)}. It retrains {best.kernels:.0f} % of the kernels, gains {best.gain:.1f} % "
        f"and forgets {best.forgetting:.1f} % (plain fine-tuning: {plain.gain:.1f} % and {plain.forgetting:.1f} %)."
    )
    if best.forgetting > best.allowed:
        text += " No φ forgets as little as is allowed; this one forgets least."
    if best.seeds > 1:
        text += f" {best.best_of_seeds} of {best.seeds} seeds alone would choose it."
    if best.held_out == "no":
        text += " Measured on training patches, as no study is held out of some training: a rough guide at most."
    return text


def _name(phi: float) -> str:
    return "plain fine-tuning" if phi == PLAIN else f"φ = {phi:g}"


def _places(table: pd.DataFrame) -> npt.NDArray[np.floating]:
    """Where each phi is drawn: itself, and plain fine-tuning to the right of the largest."""
    finite = table.phi[table.phi != PLAIN].max()
    return np.where(table.phi == PLAIN, 1.15 * finite, table.phi)


def _ticks(table: pd.DataFrame, at: npt.NDArray[np.floating]) -> tuple[list[float], list[str]]:
    """At most six phi, evenly taken, and `all`."""
    finite = at[:-1]
    shown = finite[:: -(-len(finite) // 6)]
    if at[-1] - shown[-1] < 0.12 * at[-1]:
        shown = shown[:-1]
    return [*shown, at[-1]], [*(f"{phi:g}" for phi in shown), "all"]


def _below(ax: Axes, table: pd.DataFrame, at: npt.NDArray[np.floating]) -> None:
    ax.plot(at, table.kernels, "s-", ms=3.5, color=PALETTE[0], label="kernels below φ")
    ax.plot(at, table.parameters, "^:", ms=3.5, color=GREY, label="parameters below φ")
    _curve(ax, table, at, "change", PALETTE[1], label="image change when these are dropped")
    ax.set_title("below φ")


def _curve(
    ax: Axes,
    table: pd.DataFrame,
    at: npt.NDArray[np.floating],
    what: str,
    colour: str,
    label: str | None = None,
) -> None:
    """A column with its intervals; plain fine-tuning apart from the others."""
    y = table[what].to_numpy(float)
    bars = np.stack([y - table[f"{what}_low"], table[f"{what}_high"] - y]).astype(float).clip(0)
    for part, style in ((slice(None, -1), "o-"), (slice(-1, None), "D")):
        if np.isfinite(y[part]).any():
            own = None if np.isnan(bars[:, part]).any() else bars[:, part]
            ax.errorbar(at[part], y[part], own, fmt=style, ms=4, lw=1.2, elinewidth=0.8, color=colour,
                        label=label if style != "D" else None)  # fmt: skip
    ax.plot(at[-2:], y[-2:], ":", lw=0.9, color=colour)
    if label is None:
        ax.axhline(0, color="#bbbbbb", lw=0.7, zorder=0)
