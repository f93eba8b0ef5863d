"""Training and validation loss of every network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

from ..evaluation.results import Results
from .style import GREY, PALETTE, WIDTH_IN

COLUMNS = 3
SMOOTH = 0.04  # share of a curve that its running mean spans


def logs(results: Results) -> list[tuple[str, str, Path]]:
    """(network, study or "", log) of every network that has one, in the configuration's order."""
    found = []
    for name, entry in results.ordered().items():
        folder = results.root / ("models" if entry.method == "train" else "adapted")
        paths = (
            sorted((folder / name).glob("*_log.csv"))
            if entry.data == "n2n"
            else [folder / f"{name}_log.csv"]
        )
        for path in filter(Path.exists, paths):
            found.append(
                (name, path.name.removesuffix("_log.csv") if entry.data == "n2n" else "", path)
            )
    return found


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """One panel a network; studies of online learning share a panel. The first point is before any
    update.
    """
    found = logs(results)
    if not found:
        raise FileNotFoundError(
            f"{results.root}: no training log (*_log.csv) under models/ or adapted/"
        )
    names = list(dict.fromkeys(name for name, _, _ in found))
    n_rows = -(-len(names) // COLUMNS)
    figure, axes = plt.subplots(
        n_rows,
        COLUMNS,
        figsize=(WIDTH_IN, 1.75 * n_rows + 0.1),
        squeeze=False,
        layout="constrained",
    )
    tables = []
    for ax, name in zip(axes.flat, names, strict=False):
        own = [(study, pd.read_csv(path)) for network, study, path in found if network == name]
        _curves(ax, name, own)
        tables += [table.assign(network=name, study=study) for study, table in own]
    for ax in axes.flat[len(names) :]:
        ax.axis("off")
    for ax in axes[-1]:
        ax.set_xlabel("step")
    figure.supylabel("loss", fontsize=8)
    # Speed and time left differ from run to run; the figure's table holds what it shows.
    table = pd.concat(tables, ignore_index=True)
    return figure, table[["network", "study", "step", "epoch", "loss", "validation_loss"]]


def _curves(ax: Axes, name: str, curves: list[tuple[str, pd.DataFrame]]) -> None:
    for colour, (study, table) in zip(PALETTE * 4, curves, strict=False):
        ax.plot(table.step, table.loss, color=colour, lw=0.5, alpha=0.35)
        window = max(1, round(SMOOTH * len(table)))
        ax.plot(
            table.step,
            table.loss.rolling(window, min_periods=1).mean(),
            color=colour,
            label=study or "training",
        )
        valid = table.dropna(subset=["validation_loss"])
        if len(valid):
            ax.plot(
                valid.step,
                valid.validation_loss,
                "o--",
                ms=2.5,
                lw=0.9,
                color=PALETTE[1],
                label="validation",
            )
    values = np.concatenate([t.loss.to_numpy() for _, t in curves])
    if len(values) and values.min() > 0 and values.max() > 4 * np.median(values):
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.set_title(name)
    low, high = ax.get_ylim()
    room = 1.35  # for the legend
    ax.set_ylim(
        low,
        high * (high / low) ** (room - 1)
        if ax.get_yscale() == "log"
        else low + room * (high - low),
    )
    ax.legend(loc="upper right")
    ax.tick_params(axis="y", which="minor", labelleft=False)
    ax.grid(axis="y", color="#eeeeee", lw=0.6)
    ax.spines["bottom"].set_color(GREY)
