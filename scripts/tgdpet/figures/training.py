"""Training and validation loss of every network."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

from ..evaluation.results import Results
from ..evaluation.timing import read_log
from .style import GREY, PALETTE, WIDTH_IN

PANELS_A_ROW = 3
SMOOTHED_SHARE = 0.04  # of a curve: what its running mean spans
LEGEND_ROOM = 1.35  # height of the axis with room for the legend
LOG_COLUMNS = ["network", "study", "step", "epoch", "loss", "validation_loss"]


class Log(NamedTuple):
    """The log of a training; `study` is empty but for online learning."""

    network: str
    study: str
    path: Path


def logs(results: Results) -> list[Log]:
    """The log of every network that has one, in the configuration's order."""
    existing = []

    for network, study in results.trainings():
        path = results.training_log(network, study)

        if path.exists():
            existing.append(Log(network, study, path))

    return existing


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """One panel a network; studies of online learning share one. The first point: no update yet."""
    existing = logs(results)

    if not existing:
        raise FileNotFoundError(
            f"{results.root}: no training log (*_log.csv) under models/ or adapted/"
        )

    networks = list(dict.fromkeys(log.network for log in existing))
    n_rows = -(-len(networks) // PANELS_A_ROW)
    figure, axes = plt.subplots(
        n_rows,
        PANELS_A_ROW,
        figsize=(WIDTH_IN, 1.75 * n_rows + 0.1),
        squeeze=False,
        layout="constrained",
    )
    tables = []

    for ax, network in zip(axes.flat, networks, strict=False):
        curves = {}

        for log in existing:
            if log.network == network:
                curves[log.study] = read_log(log.path)

        _draw_network(ax, network, curves)

        for study, table in curves.items():
            tables.append(table.assign(network=network, study=study))

    for ax in axes.flat[len(networks) :]:
        ax.axis("off")

    for ax in axes[-1]:
        ax.set_xlabel("step")

    figure.supylabel("loss", fontsize=8)

    # Speed and time left differ from run to run; the figure's table holds what it shows.
    return figure, pd.concat(tables, ignore_index=True)[LOG_COLUMNS]


def _draw_network(ax: Axes, network: str, curves: dict[str, pd.DataFrame]) -> None:
    for colour, (study, table) in zip(PALETTE * 4, curves.items(), strict=False):
        _draw_curve(ax, table, colour, study or "training")

    losses = np.concatenate([table.loss.to_numpy() for table in curves.values()])

    if _spans_magnitudes(losses):
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))

    ax.set_title(network)
    _make_room(ax)
    ax.legend(loc="upper right")
    ax.tick_params(axis="y", which="minor", labelleft=False)
    ax.grid(axis="y", color="#eeeeee", lw=0.6)
    ax.spines["bottom"].set_color(GREY)


def _draw_curve(ax: Axes, table: pd.DataFrame, colour: str, label: str) -> None:
    """Each logged loss, its running mean, and the validation loss."""
    ax.plot(table.step, table.loss, color=colour, lw=0.5, alpha=0.35)

    window = max(1, round(SMOOTHED_SHARE * len(table)))
    running_mean = table.loss.rolling(window, min_periods=1).mean()
    ax.plot(table.step, running_mean, color=colour, label=label)

    validated = table.dropna(subset=["validation_loss"])

    if len(validated):
        ax.plot(
            validated.step,
            validated.validation_loss,
            "o--",
            ms=2.5,
            lw=0.9,
            color=PALETTE[1],
            label="validation",
        )


def _spans_magnitudes(losses: np.ndarray) -> bool:
    """Whether a logarithmic axis serves these losses better."""
    return bool(len(losses) and losses.min() > 0 and losses.max() > 4 * np.median(losses))


def _make_room(ax: Axes) -> None:
    """Raise the axis's upper end, for the legend."""
    low, high = ax.get_ylim()

    if ax.get_yscale() == "log":
        ax.set_ylim(low, high * (high / low) ** (LEGEND_ROOM - 1))
    else:
        ax.set_ylim(low, low + LEGEND_ROOM * (high - low))
