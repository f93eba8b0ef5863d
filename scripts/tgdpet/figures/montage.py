"""A comparison of coronal panels: one study a row, one network a column, one scale for each row or for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from .common import Volume, plane_rows
from .style import WIDTH_IN, Window, arrow, bar, blank, coronal, difference, show, sides

Arrow = tuple[tuple[float, float], str, tuple[float, float]]  # tip in mm on the plane, colour, where it comes from

TITLE_PT, PANELS = 8.0, 6


@dataclass(frozen=True)
class Panel:
    """One picture: its title, the volume (SUV) it is cut from and its arrows."""

    title: str
    volume: Volume
    arrows: Sequence[Arrow] = ()
    compared: bool = True  # shown in the row of differences too


@dataclass(frozen=True)
class Row:
    """Panels of one study on one plane; with `reference`, a row of differences follows."""

    name: str
    panels: Sequence[Panel]
    y: int
    window: Window
    voxel_mm: npt.NDArray[np.floating]
    limit: float
    reference: Volume | None = None
    difference_name: str = "difference"
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def height_over_width(self) -> float:
        """Shape of its panels, in mm."""
        x, _, z = self.window
        return float((z.stop - z.start) * self.voxel_mm[2] / ((x.stop - x.start) * self.voxel_mm[0]))


def montage(rows: Sequence[Row]) -> tuple[Figure, pd.DataFrame]:
    """Draw the rows under one another and return the figure and the pixels that it shows."""
    columns = max(len(row.panels) for row in rows)
    shapes = [row.height_over_width for row in rows for _ in range(1 if row.reference is None else 2)]
    width = (WIDTH_IN - 0.75) / columns
    height = width * sum(shapes) + 0.28 * len(shapes) + 0.1
    figure, axes = plt.subplots(
        len(shapes), columns, figsize=(WIDTH_IN, height), height_ratios=shapes, squeeze=False, layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.02, wspace=0.01, hspace=0.01)  # type: ignore[union-attr, call-arg]
    tables, line = [], 0
    one_scale = len({row.limit for row in rows}) == 1
    drawn = []
    for row in rows:
        drawn.append((_activity(axes[line], row), list(axes[line])))
        line += 1
        if row.reference is not None:
            _differences(figure, axes[line], row)
            line += 1
        name = row.name.replace("\n", " ")
        for panel in row.panels:
            title = panel.title.split("\n")[0]
            tables.append(plane_rows(panel.volume, row.y, row.window, title, row_name=name, **row.keys))
    if one_scale and len(rows) > 1:
        drawn = [(drawn[0][0], [ax for _, line_axes in drawn for ax in line_axes])]
    for shown, beside in drawn:
        bar(figure, shown, beside, "SUV")
    return figure, pd.concat(tables, ignore_index=True)


def _activity(axes: np.ndarray, row: Row) -> Any:
    size = TITLE_PT * min(1.0, PANELS / len(row.panels))  # titles of many panels would run into one another
    for ax, panel in zip(axes, row.panels, strict=False):
        shown = show(ax, coronal(panel.volume, row.y, row.window), row.voxel_mm[[0, 2]], row.limit)
        ax.set_title(panel.title, pad=3, fontsize=size)
        for tip, colour, direction in panel.arrows:
            arrow(ax, tip, colour, direction)
    sides(axes[0])
    axes[0].set_ylabel(row.name)
    _hide(axes, len(row.panels))
    return shown


def _differences(figure: Figure, axes: np.ndarray, row: Row) -> None:
    assert row.reference is not None
    planes = [coronal(p.volume - row.reference, row.y, row.window) for p in row.panels]
    used = [p.compared and p.volume is not row.reference for p in row.panels]
    everything = np.concatenate([np.abs(p).ravel() for p, u in zip(planes, used, strict=True) if u])
    limit = float(np.ceil(max(np.percentile(everything, 99.5), 0.05) * 20) / 20)
    for ax, use, plane in zip(axes, used, planes, strict=False):
        if not use:
            blank(ax)
            continue
        shown = difference(ax, plane, row.voxel_mm[[0, 2]], limit)
    axes[0].set_ylabel(row.difference_name)
    _hide(axes, len(row.panels))
    bar(figure, shown, list(axes), "ΔSUV")


def _hide(axes: np.ndarray, used: int) -> None:
    for ax in axes[used:]:
        ax.axis("off")
