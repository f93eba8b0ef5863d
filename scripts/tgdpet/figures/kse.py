"""KSE histograms of every scored network, and what dropping the kernels below phi costs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..config.sections import Config
from ..evaluation.results import Results
from ..networks.score_table import read_dropped, read_score_table
from .style import GREY, PALETTE, WIDTH_IN, letters

BINS = np.linspace(0, 1, 26)
LINE_STYLES = ("--", ":", "-.", "-")


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """KSE over all kernels, KSE layer by layer, and error and share dropped against phi."""
    network = results.config.score.network
    scores = _read_scores(results, network)
    drop = read_dropped(results.drop_table)

    figure, axes = plt.subplots(1, 3, figsize=(WIDTH_IN, 2.5), layout="constrained")
    _draw_histogram(axes[0], results.config, scores)
    _draw_layers(axes[1], scores[network], network)
    _draw_dropped(axes[2], drop)
    letters(axes, "abc")

    tables = [table.assign(table="kse", network=name) for name, table in scores.items()]
    tables.append(drop.assign(table="drop"))
    return figure, pd.concat(tables, ignore_index=True)


def _read_scores(results: Results, network: str) -> dict[str, pd.DataFrame]:
    """The scores of `network`, which must be there, and of the other scored ones that are."""
    scores = {network: read_score_table(results.scores_path(network))}

    for name in results.ordered():
        path = results.scores_path(name)

        if name in results.scored() and path.exists():
            scores.setdefault(name, read_score_table(path))

    return scores


def _draw_histogram(ax: Axes, config: Config, scores: dict[str, pd.DataFrame]) -> None:
    """Of all kernels: filled for the first network, as lines for the others; thresholds in use."""
    (network, table), *others = scores.items()
    shared = {
        "x": "kse",
        "bins": list(BINS),
        "ax": ax,
    }
    sns.histplot(
        table,
        color=PALETTE[0],
        alpha=0.85,
        edgecolor="none",
        label=network,
        **shared,
    )

    for colour, (name, other) in zip(PALETTE[2:] * 3, others, strict=False):
        sns.histplot(
            other,
            element="step",
            fill=False,
            color=colour,
            lw=1,
            label=name,
            **shared,
        )

    phis = _thresholds(config)

    for phi, style in zip(phis, LINE_STYLES * len(phis), strict=False):
        below = 100 * float((table.kse < phi).mean())
        label = f"φ = {phi:g}: {below:.0f} % below"
        ax.axvline(
            phi,
            color=PALETTE[1],
            lw=1.1,
            ls=style,
            label=label,
        )

    # Room for the legend.
    legend_lines = len(phis) + len(scores)
    top = ax.get_ylim()[1]
    ax.set_ylim(top=top * (1.05 + 0.24 * legend_lines))
    _draw_legend(ax, network)
    ax.set_xlabel("KSE")
    ax.set_ylabel("kernels")
    ax.set_title("all layers")


def _thresholds(config: Config) -> list[float]:
    """The phi of all networks that are retrained below one."""
    phis = set()

    for entry in config.networks.values():
        if entry.method == "tgd" and entry.fraction is None:
            phis.add(entry.phi)

    return sorted(phis)


def _draw_legend(ax: Axes, first: str) -> None:
    """The network `first` comes first: its bars would come last by themselves."""
    handles, labels = ax.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: labels[i] != first)
    ax.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        loc="upper right",
        handlelength=1.6,
        frameon=True,
        facecolor="white",
        edgecolor="none",
        framealpha=1,
    )


def _draw_layers(ax: Axes, scores: pd.DataFrame, network: str) -> None:
    """Share of each layer's kernels by KSE."""
    modules = list(dict.fromkeys(scores.module))
    counts = []

    for name in modules:
        kse = scores[scores.module == name].kse
        counts.append(np.histogram(kse, BINS)[0])

    stacked = np.stack(counts)
    percent = 100 * stacked / stacked.sum(axis=1, keepdims=True)
    sns.heatmap(
        pd.DataFrame(percent, index=modules),
        vmin=0,
        cmap="Greys",
        xticklabels=False,
        cbar_kws={
            "label": "kernels of the layer (%)",
            "aspect": 20,
            "pad": 0.02,
        },
        ax=ax,
    )

    ax.tick_params(axis="y", rotation=0)
    ax.spines[["left", "bottom"]].set_visible(True)
    n_bins = percent.shape[1]
    names = [f"{kse:g}" for kse in np.linspace(0, 1, 6)]
    ax.set_xticks(np.linspace(0, n_bins, 6), names)
    ax.set_xlabel("KSE")
    ax.set_title(f"{network}, by layer")


def _draw_dropped(ax: Axes, drop: pd.DataFrame) -> None:
    change = 100 * drop.relative_change
    ax.plot(drop.phi, change, "o-", ms=4, color=PALETTE[1], label="image change")

    kernels = 100 * drop.kernels_dropped / drop.kernels_total
    ax.plot(drop.phi, kernels, "s--", ms=3.5, color=PALETTE[0], label="kernels dropped")

    parameters = 100 * drop.parameters_dropped / drop.parameters_total
    ax.plot(drop.phi, parameters, "^:", ms=3.5, color=GREY, label="parameters dropped")

    ax.set_xlabel("φ")
    ax.set_ylabel("%")
    top = ax.get_ylim()[1]
    ax.set_ylim(0, 1.42 * top)
    ax.set_title("dropped below φ")
    ax.legend(loc="upper left", handlelength=1.8)
