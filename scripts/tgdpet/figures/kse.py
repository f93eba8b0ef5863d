"""KSE histograms of every scored network, and what dropping the kernels below phi costs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.results import Results
from .style import GREY, PALETTE, WIDTH_IN, letter

BINS = np.linspace(0, 1, 26)


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """KSE over all kernels, KSE layer by layer, and error and share dropped against phi."""
    network = results.config.score.network
    paths = {name: results.root / "kse" / f"{name}.csv" for name in (network, *results.ordered())}
    found = {
        name: pd.read_csv(path) for name, path in paths.items() if path.exists() or name == network
    }
    scores = found[network]
    drop = pd.read_csv(results.root / "kse" / "drop.csv").sort_values("phi")
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH_IN, 2.5), layout="constrained")
    _histogram(axes[0], results, found)
    _layers(axes[1], scores, network)
    _drop(axes[2], drop)
    for ax, text in zip(axes, "abc", strict=True):
        letter(ax, text)
    named = [table.assign(table="kse", network=name) for name, table in found.items()]
    return figure, pd.concat([*named, drop.assign(table="drop")], ignore_index=True)


def _histogram(ax: Axes, results: Results, found: dict[str, pd.DataFrame]) -> None:
    network, scores = next(iter(found.items()))
    shared = {"x": "kse", "bins": list(BINS), "ax": ax}
    sns.histplot(scores, **shared, color=PALETTE[0], alpha=0.85, edgecolor="none", label=network)
    for colour, (name, other) in zip(PALETTE[2:] * 3, list(found.items())[1:], strict=False):
        sns.histplot(other, **shared, element="step", fill=False, color=colour, lw=1, label=name)
    phis = sorted(
        {
            e.phi
            for e in results.config.networks.values()
            if e.method == "tgd" and e.fraction is None
        }
    )
    for phi, line in zip(phis, ("--", ":", "-.", "-") * len(phis), strict=False):
        below = 100 * float((scores.kse < phi).mean())
        ax.axvline(
            phi, color=PALETTE[1], lw=1.1, ls=line, label=f"φ = {phi:g}: {below:.0f} % below"
        )
    ax.set_ylim(top=ax.get_ylim()[1] * (1.05 + 0.24 * (len(phis) + len(found))))
    lines, texts = ax.get_legend_handles_labels()
    order = sorted(
        range(len(texts)), key=lambda i: texts[i] != network
    )  # bars come last by themselves
    box = {"frameon": True, "facecolor": "white", "edgecolor": "none", "framealpha": 1}
    ax.legend(
        [lines[i] for i in order],
        [texts[i] for i in order],
        loc="upper right",
        handlelength=1.6,
        **box,
    )
    ax.set_xlabel("KSE")
    ax.set_ylabel("kernels")
    ax.set_title("all layers")


def _layers(ax: Axes, scores: pd.DataFrame, network: str) -> None:
    modules = list(dict.fromkeys(scores.module))
    counts = np.stack(
        [np.histogram(scores[scores.module == name].kse, BINS)[0] for name in modules]
    )
    share = 100 * counts / counts.sum(axis=1, keepdims=True)
    table = pd.DataFrame(share, index=modules)
    beside = {"label": "kernels of the layer (%)", "aspect": 20, "pad": 0.02}
    sns.heatmap(table, vmin=0, cmap="Greys", xticklabels=False, cbar_kws=beside, ax=ax)
    ax.tick_params(axis="y", rotation=0)
    ax.spines[["left", "bottom"]].set_visible(True)
    ax.set_xticks(np.linspace(0, share.shape[1], 6), [f"{x:g}" for x in np.linspace(0, 1, 6)])
    ax.set_xlabel("KSE")
    ax.set_title(f"{network}, by layer")


def _drop(ax: Axes, drop: pd.DataFrame) -> None:
    ax.plot(
        drop.phi, 100 * drop.relative_change, "o-", ms=4, color=PALETTE[1], label="image change"
    )
    for what, style in (("kernels", "s--"), ("parameters", "^:")):
        share = 100 * drop[f"{what}_dropped"] / drop[f"{what}_total"]
        colour = PALETTE[0] if what == "kernels" else GREY
        ax.plot(drop.phi, share, style, ms=3.5, color=colour, label=f"{what} dropped")
    ax.set_xlabel("φ")
    ax.set_ylabel("%")
    ax.set_ylim(0, 1.42 * ax.get_ylim()[1])
    ax.set_title("dropped below φ")
    ax.legend(loc="upper left", handlelength=1.8)
