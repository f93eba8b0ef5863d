"""What each adaptation gains and forgets on its way: end points alone favour who does less."""

from __future__ import annotations

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
COLUMNS = ["network", "step", "gain", "forgetting", "least_forgetting"]


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Forgetting over gain, from the base at the origin to the end (mark); right and down is
    better.

    (a) the ways as they went, (b) the least forgetting at which each gain was reached.
    """
    if not adapted_networks(results.config):
        raise FileNotFoundError(f"{results.root}: adapt: log_old is off: no way was logged")

    ways = {n: read_path(results, n) for n in adapted_networks(results.config)}
    for way in ways.values():
        way["least_forgetting"] = [forgetting_at(way, gain) for gain in way["gain"]]

    figure, axes = plt.subplots(1, 2, figsize=(WIDTH_IN, 3.1), layout="constrained")
    _draw(axes[0], ways, "forgetting")
    axes[0].set_ylabel("forgetting: loss on the old task,\nchange against the base (%)")
    _draw(axes[1], ways, "least_forgetting")
    axes[1].set_ylabel("least forgetting at that gain (%)")
    figure.supxlabel("gain: loss on the new task, how much lower than the base's (%)", fontsize=8)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=5, columnspacing=1.2)
    letters(axes, "ab")

    tables = [way.assign(network=name) for name, way in ways.items()]
    return figure, pd.concat(tables, ignore_index=True)[COLUMNS]


def _draw(ax: Axes, ways: dict[str, pd.DataFrame], column: str) -> None:
    others = [name for name in ways if name not in PAPERS]
    order = [*others, *(name for name in PAPERS if name in ways)]

    for i, name in enumerate(order):
        way = ways[name] if column == "forgetting" else ways[name].sort_values("gain")
        way = way[way["gain"] >= 0] if column != "forgetting" else way
        colour = PALETTE[PAPERS.index(name)] if name in PAPERS else PALETTE[2 + i % 5]
        width = 1.6 if name in PAPERS else 0.8
        ax.plot(way["gain"], way[column], color=colour, lw=width)

        end = ways[name].iloc[-1]
        marker = MARKERS[i % len(MARKERS)]
        ax.plot([end["gain"]], [end[column]], marker, color=colour, ms=5, mec="white", label=name)

    ax.axhline(0, color=LIGHT_GREY, lw=0.7, zorder=0)
    ax.axvline(0, color=LIGHT_GREY, lw=0.7, zorder=0)
