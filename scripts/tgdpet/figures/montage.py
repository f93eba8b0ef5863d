"""A comparison of image planes: one study or view a row, one network a column.

Rows may share a scale.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
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
    show,
    show_difference,
    sides,
)

# Tip in mm on the plane, colour, and where it comes from.
Arrow = tuple[tuple[float, float], str, tuple[float, float]]

TITLE_PT = 8.0
FULL_SIZE_PANELS = 6  # titles of more panels would run into one another
TITLE_LINE_IN = 0.13
GAP_IN = 0.05  # between rows without titles
BESIDE_IN = 0.75  # for row names and scale bars


@dataclass(frozen=True)
class Panel:
    """One picture: its title, the plane (SUV; None leaves it empty), arrows, a letter inside."""

    title: str
    plane: Plane | None
    arrows: Sequence[Arrow] = ()
    letter: str = ""


@dataclass(frozen=True)
class Row:
    """Panels of one shape on one scale: 0 to `limit`, or with `signed` -`limit` to `limit`."""

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
        planes = [panel.plane for panel in self.panels if panel.plane is not None]
        rows, columns = planes[0].shape
        height_mm = rows * self.pixel_mm[1]
        width_mm = columns * self.pixel_mm[0]
        return float(height_mm / width_mm)

    @property
    def above_in(self) -> float:
        """Height of the titles and of the gap above its panels, inches."""
        lines = 0

        if self.titled:
            lines = max(panel.title.count("\n") + 1 for panel in self.panels)

        return lines * TITLE_LINE_IN + GAP_IN


def differences(row: Row, reference: Plane, name: str, leave_out: Collection[int] = ()) -> Row:
    """The row's panels minus a reference, without titles; those in `leave_out` are empty."""
    panels = []

    for number, panel in enumerate(row.panels):
        plane = None

        if panel.plane is not None and number not in leave_out:
            plane = np.asarray(panel.plane - reference)

        panels.append(replace(panel, plane=plane, arrows=(), letter=""))

    limit = signed_limit([panel.plane for panel in panels])
    return replace(
        row,
        name=name,
        panels=panels,
        limit=limit,
        signed=True,
        titled=False,
    )


def signed_limit(planes: Sequence[Plane | None]) -> float:
    """End of a scale of differences, SUV: what 99.5 % of the pixels lie within, up to 0.05."""
    sizes = [np.abs(plane).ravel() for plane in planes if plane is not None]
    pixels = np.concatenate(sizes)
    limit = max(np.percentile(pixels, 99.5), 0.05)
    return float(np.ceil(limit * 20) / 20)


def montage(rows: Sequence[Row]) -> tuple[Figure, pd.DataFrame]:
    """Draw the rows under one another; returns the figure and its pixels.

    Neighbours of one scale share a bar.
    """
    columns = max(len(row.panels) for row in rows)
    shapes = [row.height_over_width for row in rows]
    panel_width_in = (WIDTH_IN - BESIDE_IN) / columns
    titles_in = sum(row.above_in for row in rows)
    height_in = panel_width_in * sum(shapes) + titles_in

    figure, axes = plt.subplots(
        len(rows),
        columns,
        figsize=(WIDTH_IN, height_in),
        height_ratios=shapes,
        squeeze=False,
        layout="constrained",
    )
    pads = {
        "w_pad": 0.015,
        "h_pad": 0.02,
        "wspace": 0.01,
        "hspace": 0.01,
    }
    figure.get_layout_engine().set(**pads)  # type: ignore[union-attr]

    images = [_draw_row(line, row) for line, row in zip(axes, rows, strict=True)]
    _draw_bars(figure, axes, rows, images)
    return figure, _pixels(rows)


def _draw_row(axes: Sequence[Axes], row: Row) -> Any:
    """Draw a row's panels; returns the last image, for the scale bar."""
    font_size = TITLE_PT * min(1.0, FULL_SIZE_PANELS / len(row.panels))
    image = None

    for ax, panel in zip(axes, row.panels, strict=False):
        if row.titled:
            ax.set_title(panel.title, pad=3, fontsize=font_size)

        if panel.plane is None:
            blank(ax)
            continue

        draw_plane = show_difference if row.signed else show
        image = draw_plane(ax, panel.plane, row.pixel_mm, row.limit)

        for tip_mm, colour, direction in panel.arrows:
            arrow(ax, tip_mm, colour, direction)

        if panel.letter:
            corner(ax, panel.letter)

    if row.panels[0].plane is not None and not row.signed:
        sides(axes[0], row.sides)

    axes[0].set_ylabel(row.name)

    for ax in axes[len(row.panels) :]:
        ax.axis("off")

    return image


def _draw_bars(
    figure: Figure, axes: np.ndarray, rows: Sequence[Row], images: Sequence[Any]
) -> None:
    """A scale bar beside each group of neighbours that have one scale."""

    def scale(number: int) -> tuple[bool, float]:
        return rows[number].signed, rows[number].limit

    for (signed, _), group in groupby(range(len(rows)), scale):
        numbers = list(group)
        beside = axes[numbers].ravel()
        label = "ΔSUV" if signed else "SUV"
        bar(figure, images[numbers[0]], list(beside), label)


def _pixels(rows: Sequence[Row]) -> pd.DataFrame:
    """The pixels of all panels, under one another."""
    tables = []

    for row in rows:
        row_name = row.name.replace("\n", " ")

        for panel in row.panels:
            if panel.plane is not None:
                title = panel.title.split("\n")[0]
                tables.append(plane_rows(panel.plane, title, row_name=row_name, **row.keys))

    return pd.concat(tables, ignore_index=True)
