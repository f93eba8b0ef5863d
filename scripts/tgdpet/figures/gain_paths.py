"""What each adaptation gains and forgets on its way: end points alone favour who does less."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.adaptation_paths import forgetting_at, read_path
from ..evaluation.inputs import adapted_networks
from ..evaluation.paper_claims import FT_NET, TGD_NET
from ..evaluation.results import Results
from .style import LIGHT_GREY, PALETTE, WIDTH_IN, letters

PAPERS = (TGD_NET, FT_NET)
MARKERS = "osv^DPX*"
ROWS_AVERAGED = 9  # of a log of some 60
MOST_SHOWN = 0.97  # of the rows; a training's first steps may lead far away
COLUMNS = ["network", "step", "gain", "forgetting", "least_forgetting"]


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Forgetting over gain, from the base at the origin to the end (mark); right and down is
    better.

    (a) the ways: running means, and of the paper's networks each row of the log as a point; (b) the
    least forgetting at which each gain was reached.
    """
    if not adapted_networks(results.config):
        raise FileNotFoundError(f"{results.root}: adapt: log_old is off: no way was logged")

    ways = {n: read_path(results, n) for n in adapted_networks(results.config)}
    for way in ways.values():
        way["least_forgetting"] = [forgetting_at(way, gain) for gain in way["gain"]]

    figure, axes = plt.subplots(1, 2, figsize=(WIDTH_IN, 3.1), layout="constrained")
    for name, (colour, marker) in _styles(list(ways)).items():
        strong = name in PAPERS or len(ways) <= len(PAPERS) + 1
        height = 2.5 if strong else 2.0
        lines = {"color": colour, "lw": 1.4 if strong else 0.8, "zorder": height}
        _draw_way(axes[0], ways[name], points=strong, **lines)
        _draw_least(axes[1], ways[name], **lines)

        end = ways[name].iloc[-1]
        ends: dict[str, Any] = {
            "color": colour,
            "marker": marker,
            "ms": 6,
            "mec": "white",
            "ls": "none",
        }
        ends["zorder"] = height + 1
        axes[0].plot([end["gain"]], [end["forgetting"]], label=name, **ends)
        axes[1].plot([end["gain"]], [end["least_forgetting"]], **ends)

    _frame(axes[0], list(ways.values()))
    for ax in axes:
        ax.axhline(0, color=LIGHT_GREY, lw=0.7, zorder=0)
        ax.axvline(0, color=LIGHT_GREY, lw=0.7, zorder=0)

    axes[0].set_ylabel("forgetting: loss on the old task,\nchange against the base (%)")
    axes[1].set_ylabel("least forgetting at that gain (%)")
    figure.supxlabel("gain: loss on the new task, how much lower than the base's (%)", fontsize=8)
    figure.legend(loc="outside upper left", ncols=6, columnspacing=1.2)
    letters(axes, "ab")

    tables = [way.assign(network=name) for name, way in ways.items()]
    return figure, pd.concat(tables, ignore_index=True)[COLUMNS]


def _styles(names: list[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each network; the paper's two come last, above the others."""
    others = [name for name in names if name not in PAPERS]
    papers = [name for name in PAPERS if name in names]
    styles = {}

    for i, name in enumerate([*others, *papers]):
        colour = PALETTE[PAPERS.index(name)] if name in PAPERS else PALETTE[2 + i % 5]
        styles[name] = colour, MARKERS[i % len(MARKERS)]

    return styles


def _draw_way(ax: Axes, way: pd.DataFrame, points: bool, **lines: Any) -> None:
    if points:
        colour = lines["color"]
        ax.plot(way["gain"], way["forgetting"], ".", ms=2.5, color=colour, alpha=0.35, mew=0)

    # Long steps scatter the losses; without the start, which no step has scattered.
    trained = way[["gain", "forgetting"]].iloc[1:]
    smooth = trained.rolling(ROWS_AVERAGED, min_periods=1, center=True).mean()
    line = pd.concat([way[["gain", "forgetting"]].iloc[:1], smooth])
    ax.plot(line["gain"], line["forgetting"], **lines)


def _draw_least(ax: Axes, way: pd.DataFrame, **lines: Any) -> None:
    gained = way[way["gain"] >= 0].sort_values("gain")
    ax.step(gained["gain"], gained["least_forgetting"], where="pre", **lines)


def _frame(ax: Axes, ways: Sequence[pd.DataFrame]) -> None:
    """Limits that hold the origin, every end and nearly all rows."""
    rows = pd.concat(ways)[["gain", "forgetting"]]
    ends = pd.concat([way.iloc[[0, -1]] for way in ways])[["gain", "forgetting"]]
    low = rows.quantile(1 - MOST_SHOWN).combine(ends.min(), min)
    high = rows.quantile(MOST_SHOWN).combine(ends.max(), max)
    margin = 0.06 * (high - low)

    ax.set_xlim(low["gain"] - margin["gain"], high["gain"] + margin["gain"])
    ax.set_ylim(low["forgetting"] - margin["forgetting"], high["forgetting"] + margin["forgetting"])
