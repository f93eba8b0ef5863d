"""Gain against forgetting: every network's error on the old and the new task, against v1-net's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from ..evaluation.findings import TASK_ERRORS
from ..evaluation.paper_claims import TGD_NET, V1_NET
from ..evaluation.results import PAPER_NETWORKS, Results, records
from ..evaluation.seed_runs import read_table
from .name_placement import write_names
from .style import GREY, LIGHT_GREY, PALETTE, WIDTH_IN, letters

# Kind of network -> marker and colour.
KIND_MARKS = {
    "base": ("*", "#000000"),
    "from scratch on v2": ("P", "#000000"),
    "TGD": ("o", PALETTE[0]),
    "TGD, other kernels or flow": ("s", PALETTE[5]),
    "fine-tuning": ("^", PALETTE[1]),
    "penalty": ("v", PALETTE[2]),
    "old data": ("D", PALETTE[3]),
}
TASK_COLUMNS = ("old", "new")
WORTH_A_ZOOM = 0.6  # of the whole: a second panel that enlarges less shows nothing more
FAR_TIMES = 5.0  # times the middle network's distance from the base
FAR_TIMES_OF_PAPER = 1.5  # times the farthest of the paper's networks


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Left and down is better: less error on v1 images (kept) and on v2 images (gained)."""
    table = read_table(results.metrics_path("gain"), TASK_ERRORS)
    return scatter(table), table


def scatter(table: pd.DataFrame) -> Figure:
    """The plot of a table of networks, of any number of seeds.

    (a) shows all but what lies far off, (b) the middle of (a), where that enlarges it.
    """
    far = _is_far(table)
    shown = table[~far]
    inner = _is_inner(shown)
    zoomed = shown[inner] if _is_worth_a_zoom(shown, inner) else None

    figure, axes = plt.subplots(
        1,
        1 if zoomed is None else 2,
        figsize=(WIDTH_IN, 3.5),
        squeeze=False,
        layout="constrained",
    )
    first = axes[0, 0]
    _draw_points(first, shown)

    if zoomed is not None:
        _draw_points(axes[0, 1], zoomed)

    first.set_ylabel("new task: error on v2 images,\nchange against v1-net (%)")
    figure.supxlabel("old task: error on v1 images, change against v1-net (%)", fontsize=8)
    _draw_legend(figure, shown)
    _write_footnote(first, table[far])
    figure.canvas.draw()  # names are placed by where points lie on the paper

    if zoomed is None:
        _name_points(first, shown, list(shown.network))
        return figure

    letters(axes[0], "ab", (-14, 4))
    _frame(first, axes[0, 1])
    names = []

    for is_inner, network in zip(inner, shown.network, strict=True):
        named_in_zoom = is_inner and network != TGD_NET
        names.append(None if named_in_zoom else network)

    _name_points(first, shown, names)
    _name_points(axes[0, 1], zoomed, list(zoomed.network))
    return figure


def _draw_points(ax: Axes, rows: pd.DataFrame) -> None:
    for kind, (marker, colour) in KIND_MARKS.items():
        of_kind = rows[rows.kind == kind]
        ax.errorbar(
            of_kind.old,
            of_kind.new,
            yerr=_bars(of_kind, "new"),
            xerr=_bars(of_kind, "old"),
            ls="none",
            lw=0.7,
            color=colour,
            marker=marker,
            ms=8 if kind == "base" else 5,
        )

    ax.axvline(0, color=LIGHT_GREY, lw=0.7, zorder=0)
    ax.axhline(0, color=LIGHT_GREY, lw=0.7, zorder=0)
    ax.margins(0.14)


def _bars(rows: pd.DataFrame, task: str) -> npt.NDArray[np.floating]:
    """Lengths (2, N) of the error bars below and above."""
    below = rows[task] - rows[f"{task}_low"]
    above = rows[f"{task}_high"] - rows[task]
    return np.stack([below, above]).clip(0)


def _draw_legend(figure: Figure, shown: pd.DataFrame) -> None:
    handles = []

    for kind, (marker, colour) in KIND_MARKS.items():
        if kind in set(shown.kind):
            label = f"{V1_NET} (base)" if kind == "base" else kind
            handles.append(
                Line2D(
                    [],
                    [],
                    ls="none",
                    marker=marker,
                    color=colour,
                    ms=5,
                    label=label,
                )
            )

    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncol=4,
        handletextpad=0.3,
        columnspacing=1.2,
    )


def _write_footnote(ax: Axes, far: pd.DataFrame) -> None:
    """Which way is better, and the networks that lie outside."""
    lines = ["left and down is better"]

    for row in records(far):
        lines.append(f"beyond: {row.network} ({row.old:+.0f} %, {row.new:+.0f} %)")

    ax.text(
        0.02,
        0.02,
        "\n".join(lines),
        transform=ax.transAxes,
        fontsize=6.5,
        color=GREY,
        va="bottom",
        bbox={
            "facecolor": "white",
            "lw": 0,
            "pad": 1,
        },
    )


def _frame(ax: Axes, zoom: Axes) -> None:
    """What the zoom shows, in the whole."""
    left, right = zoom.get_xlim()
    bottom, top = zoom.get_ylim()
    frame = Rectangle(
        (left, bottom),
        right - left,
        top - bottom,
        fill=False,
        ec=GREY,
        lw=0.6,
        ls="--",
        zorder=1,
    )
    ax.add_patch(frame)


def _name_points(ax: Axes, rows: pd.DataFrame, names: list[str | None]) -> None:
    values = rows[["old", "new"]].to_numpy(float)
    low = rows[["old_low", "new_low"]].to_numpy(float)
    high = rows[["old_high", "new_high"]].to_numpy(float)
    write_names(ax, values, low, high, names, bold=TGD_NET)


def _is_inner(table: pd.DataFrame) -> pd.Series:
    """The base and the networks near it.

    No farther than twice the middle one, along both axes.
    """
    changes = table[list(TASK_COLUMNS)].abs()
    middle = changes[table.kind != "base"].median()
    return (changes <= 2 * middle).all(axis=1)


def _is_worth_a_zoom(shown: pd.DataFrame, inner: pd.Series) -> bool:
    """Whether a panel of the inner networks would show more."""
    if not 3 < inner.sum() < len(shown):
        return False

    enlarged = _span(shown[inner]) < WORTH_A_ZOOM * _span(shown)
    return bool(enlarged.any())


def _is_far(table: pd.DataFrame) -> pd.Series:
    """Networks several times farther off than most, and than the paper's.

    They would squeeze all others together. How far most are is counted to the ends of their
    intervals, which are drawn, too.
    """
    ends = pd.DataFrame({task: _ends(table, task).abs().max(axis=1) for task in TASK_COLUMNS})
    most = ends[table.kind != "base"].median()
    papers = ends[table.network.isin(PAPER_NETWORKS)].max()

    limit = np.maximum(FAR_TIMES * most, FAR_TIMES_OF_PAPER * papers)
    return (table[list(TASK_COLUMNS)].abs() > limit).any(axis=1)


def _ends(table: pd.DataFrame, task: str) -> pd.DataFrame:
    """The values of a task and the ends of their intervals."""
    return table[[task, f"{task}_low", f"{task}_high"]]


def _span(table: pd.DataFrame) -> npt.NDArray[np.floating]:
    """How far marks and intervals reach along both axes, %."""
    return np.array([np.ptp(_ends(table, task).to_numpy()) for task in TASK_COLUMNS])
