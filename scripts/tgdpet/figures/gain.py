"""Gain against forgetting: every network's error on the old task and on the new one, compared with
the v1-net's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox

from ..evaluation.findings import STANDING
from ..evaluation.paper_claims import TGD_NET, V1_NET
from ..evaluation.results import PAPER_NETWORKS, Results, records
from ..evaluation.seed_runs import read_table
from .style import GREY, PALETTE, WIDTH_IN, letter

LOOKS = {
    "base": ("*", "#000000"),
    "from scratch on v2": ("P", "#000000"),
    "TGD": ("o", PALETTE[0]),
    "TGD, other kernels or flow": ("s", PALETTE[5]),
    "fine-tuning": ("^", PALETTE[1]),
    "penalty": ("v", PALETTE[2]),
    "old data": ("D", PALETTE[3]),
}
DISTANCES = (3.0, 6.0, 10.0, 16.0, 24.0, 34.0, 46.0)  # points between a mark and its name
WORTH_A_ZOOM = 0.6  # of the whole: a second panel that enlarges less shows nothing more
Pixels = npt.NDArray[np.floating]
Surroundings = tuple[
    Sequence[Bbox], Sequence[Bbox], Bbox
]  # what is taken, what others own, the frame


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Left and down is better: less error on v1 images (nothing forgotten) and on v2 images (much
    gained).
    """
    table = read_table(results.root / "metrics" / "gain.csv", STANDING)
    return scatter(table), table


def scatter(table: pd.DataFrame) -> Figure:
    """The plot of a table of networks, of any number of seeds: (a) all but what lies far off, (b)
    the middle of (a).
    """
    far = _far(table)
    shown = table[~far]
    inner = _inner(shown)
    zoom = 3 < inner.sum() < len(shown) and bool(
        (_span(shown[inner]) < WORTH_A_ZOOM * _span(shown)).any()
    )
    figure, axes = plt.subplots(
        1, 2 if zoom else 1, figsize=(WIDTH_IN, 3.5), squeeze=False, layout="constrained"
    )
    for ax, rows in zip(axes[0], (shown, shown[inner]), strict=False):
        _points(ax, rows)
    axes[0, 0].set_ylabel("new task: error on v2 images,\nchange against v1-net (%)")
    figure.supxlabel("old task: error on v1 images, change against v1-net (%)", fontsize=8)
    _legend(figure, shown)
    _footnote(axes[0, 0], table[far])
    figure.canvas.draw()  # names are placed by where points lie on the paper
    if zoom:
        for ax, text in zip(axes[0], "ab", strict=True):
            letter(ax, text, (-14, 4))
        (x0, x1), (y0, y1) = axes[0, 1].get_xlim(), axes[0, 1].get_ylim()
        axes[0, 0].add_patch(
            Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=GREY, lw=0.6, ls="--", zorder=1)
        )
        names(
            axes[0, 0],
            shown,
            [None if i and n != TGD_NET else n for i, n in zip(inner, shown.network, strict=True)],
        )
        names(axes[0, 1], shown[inner], list(shown[inner].network))
    else:
        names(axes[0, 0], shown, list(shown.network))
    return figure


def _points(ax: Axes, rows: pd.DataFrame) -> None:
    for kind, (marker, colour) in LOOKS.items():
        own = rows[rows.kind == kind]
        x, y = (
            np.stack([own[a] - own[f"{a}_low"], own[f"{a}_high"] - own[a]]).clip(0)
            for a in ("old", "new")
        )
        size = 8 if kind == "base" else 5
        ax.errorbar(own.old, own.new, y, x, ls="none", lw=0.7, color=colour, marker=marker, ms=size)
    for line in (ax.axvline, ax.axhline):
        line(0, color="#bbbbbb", lw=0.7, zorder=0)
    ax.margins(0.14)


def _legend(figure: Figure, shown: pd.DataFrame) -> None:
    kinds = [(kind, look) for kind, look in LOOKS.items() if kind in set(shown.kind)]
    marks = [
        Line2D(
            [],
            [],
            ls="none",
            marker=m,
            color=c,
            ms=5,
            label=f"{V1_NET} (base)" if kind == "base" else kind,
        )
        for kind, (m, c) in kinds
    ]
    figure.legend(
        handles=marks, loc="outside upper left", ncol=4, handletextpad=0.3, columnspacing=1.2
    )


def _footnote(ax: Axes, far: pd.DataFrame) -> None:
    lines = [f"beyond: {r.network} ({r.old:+.0f} %, {r.new:+.0f} %)" for r in records(far)]
    text = "\n".join(["left and down is better", *lines])
    ax.text(0.02, 0.02, text, transform=ax.transAxes, fontsize=6.5, color=GREY, va="bottom",
            bbox={"facecolor": "white", "lw": 0, "pad": 1})  # fmt: skip


def _inner(table: pd.DataFrame) -> pd.Series:
    """The base and the networks near it: no farther than twice the middle one, in both
    directions.
    """
    changes = table[["old", "new"]].abs()
    return (changes <= 2 * changes[table.kind != "base"].median()).all(axis=1)


def _far(table: pd.DataFrame) -> pd.Series:
    """Networks several times farther off than most, and than the paper's: they would squeeze all
    others together.

    How far most are is counted to the ends of their intervals, which are drawn, too.
    """
    ends = pd.DataFrame(
        {a: table[[a, f"{a}_low", f"{a}_high"]].abs().max(axis=1) for a in ("old", "new")}
    )
    own = ends[table.network.isin(PAPER_NETWORKS)].max()
    limit = np.maximum(5 * ends[table.kind != "base"].median(), 1.5 * own)
    return (table[["old", "new"]].abs() > limit).any(axis=1)


def _span(table: pd.DataFrame) -> Pixels:
    """How far marks and intervals reach along both axes, %."""
    return np.array(
        [np.ptp(table[[a, f"{a}_low", f"{a}_high"]].to_numpy()) for a in ("old", "new")]
    )


def names(ax: Axes, table: pd.DataFrame, words: Sequence[str | None]) -> None:
    """Write each name beside its point where it covers nothing else, with a line to it where that
    is far.

    None: no name for that point.
    """
    unit = ax.figure.dpi / 72  # a point (1/72 inch) in pixels
    points = table[["old", "new"]].to_numpy(float)
    at = ax.transData.transform(points)
    low, high = (
        ax.transData.transform(table[[f"old_{end}", f"new_{end}"]]) for end in ("low", "high")
    )
    marks = [Bbox([p - 4 * unit, p + 4 * unit]) for p in at]
    across = [
        Bbox([(one[0], p[1]), (two[0], p[1])]) for p, one, two in zip(at, low, high, strict=True)
    ]
    up = [Bbox([(p[0], one[1]), (p[0], two[1])]) for p, one, two in zip(at, low, high, strict=True)]
    taken = [*marks, *(bar.padded(unit) for bar in (*across, *up))]
    # The crowded ones first, as they have the fewest places.
    near = np.sort(np.linalg.norm(at[:, None] - at[None], axis=-1), axis=1)[:, 1:3].sum(axis=1)
    for i in np.argsort(near, kind="stable"):
        if words[i] is None:
            continue
        style: Any = {
            "fontsize": 6.8,
            "weight": "bold" if words[i] == TGD_NET else "normal",
            "ha": "center",
            "va": "center",
        }
        text = ax.text(0, 0, words[i], **style)
        size = np.array(text.get_window_extent().size)
        text.remove()
        # A name close to another point's bars would be read as that one's.
        others = [
            bar.padded(7 * unit) for bars in (across, up) for k, bar in enumerate(bars) if k != i
        ]
        surroundings = (taken, others, ax.get_window_extent())
        centre = min(
            _places(at[i], size, unit),
            key=lambda place: _cost(place, at[i], size, surroundings, unit),
        )
        taken.append(_box(centre, size).padded(1.5 * unit))
        taken += [
            Bbox([p - unit, p + unit]) for p in np.linspace(at[i], centre, 12)[2:-2]
        ]  # the line
        offset = (centre - at[i]) / unit
        far = np.linalg.norm(np.maximum(np.abs(offset) - size / unit / 2, 0)) > 9
        line = (
            {"arrowstyle": "-", "color": GREY, "lw": 0.5, "shrinkA": 1, "shrinkB": 3}
            if far
            else None
        )
        ax.annotate(
            words[i], points[i], xytext=offset, textcoords="offset points", arrowprops=line, **style
        )


def _places(point: Pixels, size: Pixels, unit: float) -> Iterator[Pixels]:
    """Centres of a name of this size around a point, in pixels, near ones first."""
    for distance in DISTANCES:
        for angle in np.radians(np.arange(0, 360, 22.5)):
            yield point + np.array([np.cos(angle), np.sin(angle)]) * (distance * unit + size / 2)


def _cost(
    centre: Pixels, point: Pixels, size: Pixels, surroundings: Surroundings, unit: float
) -> float:
    """Points from the mark, and much more for what is covered, confusingly near, or outside the
    frame.
    """
    taken, others, frame = surroundings
    box = _box(centre, size)
    outside = box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < frame.y0 or box.y1 > frame.y1
    covered = sum(map(box.overlaps, taken)) + outside
    return float(
        np.linalg.norm(centre - point) / unit + 25 * any(map(box.overlaps, others)) + 1000 * covered
    )


def _box(centre: Pixels, size: Pixels) -> Bbox:
    return Bbox([centre - size / 2, centre + size / 2])
