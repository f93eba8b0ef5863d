"""A comparison of image planes: one study or view a row, one network a column, one scale for rows
that share it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from .common import plane_rows
from .style import (
    CORONAL_SIDES,
    WIDTH_IN,
    Numbers,
    Plane,
    arrow,
    bar,
    blank,
    corner,
    difference,
    show,
    sides,
)

Arrow = tuple[
    tuple[float, float], str, tuple[float, float]
]  # tip in mm on the plane, colour, where it comes from

TITLE_PT, PANELS = 8.0, 6
GAP_IN = 0.05  # between rows without titles


@dataclass(frozen=True)
class Panel:
    """One picture: its title, the plane (SUV; None leaves the place empty), arrows, and a letter in
    its corner.
    """

    title: str
    plane: Plane | None
    arrows: Sequence[Arrow] = ()
    letter: str = ""


@dataclass(frozen=True)
class Row:
    """Panels of one shape on one scale: 0 to `limit`, or with `signed` -`limit` to `limit` for
    differences.
    """

    name: str
    panels: Sequence[Panel]
    pixel_mm: Numbers
    limit: float
    signed: bool = False
    titled: bool = True
    sides: tuple[str, str] = CORONAL_SIDES
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def height_over_width(self) -> float:
        """Shape of its panels, in mm."""
        rows, columns = next(p.plane.shape for p in self.panels if p.plane is not None)
        return float(rows * self.pixel_mm[1] / (columns * self.pixel_mm[0]))


def differences(row: Row, reference: Plane, name: str, leave_out: Collection[int] = ()) -> Row:
    """The row's panels minus a reference, without titles; the panels numbered in `leave_out` stay
    empty.
    """
    planes = [
        None if i in leave_out or p.plane is None else np.asarray(p.plane - reference)
        for i, p in enumerate(row.panels)
    ]
    panels = [
        replace(p, plane=plane, arrows=(), letter="")
        for p, plane in zip(row.panels, planes, strict=True)
    ]
    return replace(
        row, name=name, panels=panels, limit=signed_limit(planes), signed=True, titled=False
    )


def signed_limit(planes: Sequence[Plane | None]) -> float:
    """End of a scale of differences: what 99.5 % of the pixels lie within, rounded up to 0.05
    SUV.
    """
    pixels = np.concatenate([np.abs(p).ravel() for p in planes if p is not None])
    return float(np.ceil(max(np.percentile(pixels, 99.5), 0.05) * 20) / 20)


def montage(rows: Sequence[Row]) -> tuple[Figure, pd.DataFrame]:
    """Draw the rows under one another; neighbours of one scale share a bar. Returns the figure and
    its pixels.
    """
    columns = max(len(row.panels) for row in rows)
    shapes = [row.height_over_width for row in rows]
    width = (WIDTH_IN - 0.75) / columns
    lines = sum(_title_lines(row) * 0.13 + GAP_IN for row in rows)
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(WIDTH_IN, width * sum(shapes) + lines), height_ratios=shapes, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.02, wspace=0.01, hspace=0.01)  # type: ignore[union-attr, call-arg]
    drawn = [_draw(line, row) for line, row in zip(axes, rows, strict=True)]
    for (signed, _), group in groupby(range(len(rows)), lambda i: (rows[i].signed, rows[i].limit)):
        members = list(group)
        beside = [ax for i in members for ax in axes[i]]
        bar(figure, drawn[members[0]], beside, "ΔSUV" if signed else "SUV")
    tables = [
        plane_rows(
            panel.plane,
            panel.title.split("\n")[0],
            row_name=row.name.replace("\n", " "),
            **row.keys,
        )
        for row in rows
        for panel in row.panels
        if panel.plane is not None
    ]
    return figure, pd.concat(tables, ignore_index=True)


def _draw(axes: np.ndarray, row: Row) -> Any:
    size = TITLE_PT * min(
        1.0, PANELS / len(row.panels)
    )  # titles of many panels would run into one another
    for ax, panel in zip(axes, row.panels, strict=False):
        if row.titled:
            ax.set_title(panel.title, pad=3, fontsize=size)
        if panel.plane is None:
            blank(ax)
            continue
        shown = (difference if row.signed else show)(ax, panel.plane, row.pixel_mm, row.limit)
        for tip, colour, direction in panel.arrows:
            arrow(ax, tip, colour, direction)
        if panel.letter:
            corner(ax, panel.letter)
    if row.panels[0].plane is not None and not row.signed:
        sides(axes[0], row.sides)
    axes[0].set_ylabel(row.name)
    for ax in axes[len(row.panels) :]:
        ax.axis("off")
    return shown


def _title_lines(row: Row) -> int:
    return max(panel.title.count("\n") + 1 for panel in row.panels) if row.titled else 0
