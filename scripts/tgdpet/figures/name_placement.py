"""Names beside the points of a plot, where they cover nothing else.

Each name takes the cheapest of many positions around its point, the most crowded points first. All
lengths are pixels of the figure but where a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from .style import GREY

DISTANCES_PT = (3.0, 6.0, 10.0, 16.0, 24.0, 34.0, 46.0)  # between a mark and its name
ANGLES = np.radians(np.arange(0, 360, 22.5))
HALF_MARK_PT = 4.0  # half a mark
NEAR_BAR_PT = 7.0  # a name as close to another point's bars would be read as that one's
NEAR_BAR_COST = 25.0  # in points of distance from the mark
COVERED_COST = 1000.0
LINE_FROM_PT = 9.0  # a name farther than this is connected to its point
NAME_FONT_PT = 6.8

Pixels = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Points:
    """Points (N, 2) with error bars of which `low` (N, 2) and `high` (N, 2) are the ends."""

    at: Pixels
    low: Pixels
    high: Pixels

    def bars(self, i: int) -> tuple[Bbox, Bbox]:
        """The horizontal and the vertical bar of a point."""
        x, y = self.at[i]
        left, bottom = self.low[i]
        right, top = self.high[i]
        across = Bbox([(left, y), (right, y)])
        up = Bbox([(x, bottom), (x, top)])
        return across, up

    def crowded_first(self) -> npt.NDArray[np.intp]:
        """The order of placement: the point with the two nearest neighbours has the fewest free."""
        between = self.at[:, None] - self.at[None]
        distances = np.linalg.norm(between, axis=-1)
        distances.sort(axis=1)
        to_two_nearest = distances[:, 1:3].sum(axis=1)
        return np.argsort(to_two_nearest, kind="stable")


@dataclass(eq=False)
class Paper:
    """What a name may not cover, and how long a point (1/72 inch) is."""

    points: Points
    frame: Bbox
    pt: float
    taken: list[Bbox] = field(default_factory=list)

    def __post_init__(self) -> None:
        half_mark = HALF_MARK_PT * self.pt

        for i, point in enumerate(self.points.at):
            self.taken.append(Bbox([point - half_mark, point + half_mark]))
            self.taken += [bar.padded(self.pt) for bar in self.points.bars(i)]

    def best_centre(self, i: int, size: Pixels) -> Pixels:
        """The cheapest centre of a name of this size, of those around point `i`."""
        others = [
            bar.padded(NEAR_BAR_PT * self.pt)
            for k in range(len(self.points.at))
            if k != i
            for bar in self.points.bars(k)
        ]

        def cost(centre: Pixels) -> float:
            return self._cost(i, centre, size, others)

        return min(self._centres(i, size), key=cost)

    def take(self, i: int, centre: Pixels, size: Pixels) -> None:
        """Keep other names off this one and off its line."""
        box = _box(centre, size)
        self.taken.append(box.padded(1.5 * self.pt))

        line = np.linspace(self.points.at[i], centre, 12)

        for point in line[2:-2]:
            self.taken.append(Bbox([point - self.pt, point + self.pt]))

    def _centres(self, i: int, size: Pixels) -> Iterator[Pixels]:
        """Positions around a point, near ones first."""
        for distance_pt in DISTANCES_PT:
            for angle in ANGLES:
                direction = np.array([np.cos(angle), np.sin(angle)])
                reach = distance_pt * self.pt + size / 2
                yield self.points.at[i] + direction * reach

    def _cost(self, i: int, centre: Pixels, size: Pixels, others: Sequence[Bbox]) -> float:
        """Points from the mark; much more for what is covered, confusingly near or outside."""
        box = _box(centre, size)
        distance_pt = np.linalg.norm(centre - self.points.at[i]) / self.pt
        near_bar = any(box.overlaps(bar) for bar in others)

        outside_x = box.x0 < self.frame.x0 or box.x1 > self.frame.x1
        outside_y = box.y0 < self.frame.y0 or box.y1 > self.frame.y1
        covered = sum(box.overlaps(other) for other in self.taken)
        covered += outside_x or outside_y

        return float(distance_pt + NEAR_BAR_COST * near_bar + COVERED_COST * covered)


def write_names(
    ax: Axes,
    values: Pixels,
    low: Pixels,
    high: Pixels,
    names: Sequence[str | None],
    bold: str,
) -> None:
    """Write each name beside its point (x, y), with a line to it where that is far.

    `values` (N, 2) are in the plot's units, `low` and `high` the ends of their error bars; None: no
    name for that point. The figure has to have been drawn once, so that sizes on paper are known.
    """
    to_pixels = ax.transData.transform
    points = Points(to_pixels(values), to_pixels(low), to_pixels(high))
    paper = Paper(points, frame=ax.get_window_extent(), pt=ax.figure.dpi / 72)

    for i in points.crowded_first():
        name = names[i]

        if name is None:
            continue

        style: Any = {
            "fontsize": NAME_FONT_PT,
            "weight": "bold" if name == bold else "normal",
            "ha": "center",
            "va": "center",
        }
        size = _size(ax, name, style)
        centre = paper.best_centre(i, size)
        paper.take(i, centre, size)

        offset_pt = (centre - points.at[i]) / paper.pt
        half_size_pt = size / paper.pt / 2
        gap_pt = np.maximum(np.abs(offset_pt) - half_size_pt, 0)
        line = None

        if np.linalg.norm(gap_pt) > LINE_FROM_PT:
            line = {
                "arrowstyle": "-",
                "color": GREY,
                "lw": 0.5,
                "shrinkA": 1,
                "shrinkB": 3,
            }

        ax.annotate(
            name,
            values[i],
            xytext=offset_pt,
            textcoords="offset points",
            arrowprops=line,
            **style,
        )


def _size(ax: Axes, name: str, style: dict[str, Any]) -> Pixels:
    """Width and height of a name."""
    text = ax.text(0, 0, name, **style)
    size = np.array(text.get_window_extent().size)
    text.remove()
    return size


def _box(centre: Pixels, size: Pixels) -> Bbox:
    return Bbox([centre - size / 2, centre + size / 2])
