"""Fig. 3: one study reconstructed with v1 and v2, and how coarse each one's noise is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..config import roles
from ..constants import ORGANS
from ..evaluation import measures as m
from ..evaluation.evaluate import PROTOCOLS
from ..evaluation.measures import Window
from ..evaluation.noise_texture import (
    AUTOCORRELATION,
    AXES,
    LIVER_COV,
    NOISE_POWER,
    TEXTURE_FWHM,
    noise_texture,
)
from ..evaluation.results import Results
from .common import box_mm, display_limit, on_plane, seconds_text
from .style import (
    GREY,
    LIGHT_GREY,
    PALETTE,
    WHITE,
    WIDTH_IN,
    YELLOW,
    arrow,
    bar,
    coronal,
    letters,
    show,
    sides,
)

BESIDE_IMAGES_IN = 1.0
ABOVE_IMAGES_IN = 0.45
PLOTS_IN = 1.95


class StudyView(NamedTuple):
    """The lesion study, its labels, the plane through the lesion, and two windows onto it."""

    study: str
    labels: m.Labels
    voxel_mm: npt.NDArray[np.floating]
    y: int
    body: Window
    liver: Window


class ImagePanel(NamedTuple):
    """Which image is shown, and whether its liver alone is."""

    protocol: str
    sample: str
    zoomed: bool


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Above: images of both protocols, whole-scan and noisy, with a zoom; below: their noise."""
    tables = [noise_texture(results, protocol) for protocol in PROTOCOLS]
    texture = pd.concat(tables, ignore_index=True)

    view = _view(results)
    body_width = _width_over_height(view.body, view)
    liver_width = _width_over_height(view.liver, view)
    widths = body_width + liver_width
    panel_in = (WIDTH_IN - BESIDE_IMAGES_IN) / (2 * widths)
    images_in = 2 * panel_in + ABOVE_IMAGES_IN

    figure = plt.figure(
        figsize=(WIDTH_IN, images_in + PLOTS_IN),
        layout="constrained",
    )
    parts: Any = figure.subfigures(2, 1, height_ratios=(images_in, PLOTS_IN))
    top, bottom = parts
    _draw_images(top, results, view)

    axes: Any = bottom.subplots(1, 3, width_ratios=(1, 1, 0.95))
    _draw_autocorrelation(axes[0], texture)
    _draw_power(axes[1], texture)
    _write_numbers(axes[2], texture)
    letters(axes, "cde")
    return figure, texture


def _view(results: Results) -> StudyView:
    study = results.of_role(roles.LESION)[0]
    labels = results.labels(study)
    voxel_mm = results.voxel_mm(study)

    lesion = labels == ORGANS["lesion"]
    liver = (labels == ORGANS["liver"]) | lesion

    return StudyView(
        study=study,
        labels=labels,
        voxel_mm=voxel_mm,
        y=int(m.middle(lesion)[1]),
        body=box_mm(m.body(labels), voxel_mm, (15, 0, 0)),
        liver=box_mm(liver, voxel_mm, (15, 0, 25)),
    )


def _draw_images(figure: Any, results: Results, view: StudyView) -> None:
    whole_scan = results.suv(view.study, "v2", results.scan)
    limit = display_limit(whole_scan, view.labels)
    noisy = results.noisy(view.study)

    # Panels of one height: their widths follow from the windows' shapes.
    windows = (view.body, view.liver)
    widths = [_width_over_height(window, view) for window in windows]
    axes = figure.subplots(2, 4, width_ratios=widths * 2)

    for row, protocol in zip(axes, PROTOCOLS, strict=True):
        panels = [
            ImagePanel(protocol, sample, zoomed)
            for sample in (results.scan, noisy)
            for zoomed in (False, True)
        ]

        for ax, panel in zip(row, panels, strict=True):
            image = _draw_image(ax, results, view, panel, limit)

        row[0].set_ylabel(protocol, fontsize=9)

    scan_s = seconds_text(results, results.scan)
    noisy_s = seconds_text(results, noisy)
    titles = (scan_s, f"{scan_s}, liver", noisy_s, f"{noisy_s}, liver")

    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title)

    letters(axes[:, 0], "ab", (-16, 4))
    bar(figure, image, list(axes.flat), "SUV")


def _draw_image(
    ax: Axes, results: Results, view: StudyView, panel: ImagePanel, limit: float
) -> Any:
    """One image; the framed part, or the arrow in it."""
    window = view.liver if panel.zoomed else view.body
    volume = results.suv(view.study, panel.protocol, panel.sample)
    plane = coronal(volume, view.y, window)
    image = show(ax, plane, view.voxel_mm[[0, 2]], limit)

    if not panel.zoomed:
        _frame(ax, view)
        sides(ax)
    elif panel.sample == results.scan:
        lesion = m.middle(view.labels == ORGANS["lesion"])
        tip_mm = on_plane(lesion, window, view.voxel_mm)
        arrow(ax, tip_mm, YELLOW, direction=(1, 1))
    else:
        arrow(ax, _in_liver(view), WHITE, direction=(1, -1))

    return image


def _in_liver(view: StudyView) -> tuple[float, float]:
    """Where the liver's noise is pointed at: the middle of its lesion-free part in the plane."""
    voi = m.liver_voi(view.labels, ORGANS)
    plane = np.zeros_like(voi)
    plane[:, view.y] = voi[:, view.y]
    target = m.middle(plane if plane.any() else voi)
    return on_plane(target, view.liver, view.voxel_mm)


def _size_mm(window: Window, view: StudyView) -> tuple[float, float]:
    """Width and height of a coronal window."""
    x, _, z = window
    width_mm = (x.stop - x.start) * view.voxel_mm[0]
    height_mm = (z.stop - z.start) * view.voxel_mm[2]
    return width_mm, height_mm


def _width_over_height(window: Window, view: StudyView) -> float:
    width_mm, height_mm = _size_mm(window, view)
    return float(width_mm / height_mm)


def _frame(ax: Axes, view: StudyView) -> None:
    """The liver's window in the whole body's."""
    body_x, _, body_z = view.body
    liver_x, _, liver_z = view.liver
    left_mm = (body_x.stop - liver_x.stop) * view.voxel_mm[0]
    bottom_mm = (liver_z.start - body_z.start) * view.voxel_mm[2]
    width_mm, height_mm = _size_mm(view.liver, view)
    frame = Rectangle(
        (left_mm, bottom_mm),
        width_mm,
        height_mm,
        fill=False,
        ec=PALETTE[0],
        lw=0.8,
    )
    ax.add_patch(frame)


def _of(texture: pd.DataFrame, protocol: str, measure: str, axis: str) -> pd.DataFrame:
    """The rows of one measure of a protocol along an axis."""
    of_protocol = texture[texture.protocol == protocol]
    of_measure = of_protocol[of_protocol.measure == measure]
    return of_measure[of_measure.axis == axis]


def _draw_autocorrelation(ax: Axes, texture: pd.DataFrame) -> None:
    for colour, protocol in zip(PALETTE, PROTOCOLS, strict=False):
        for axis, style in zip(AXES, ("-", "--", ":"), strict=True):
            rows = _of(texture, protocol, AUTOCORRELATION, axis)
            label = f"{protocol}, {axis}"
            ax.plot(rows["at"], rows["value"], style, lw=1.1, color=colour, label=label)

    ax.axhline(0.5, color=GREY, lw=0.5, ls=(0, (1, 2)))
    ax.axhline(0, color=LIGHT_GREY, lw=0.5)
    ax.set_xlabel("distance (mm)")
    ax.set_ylabel("noise autocorrelation")
    ax.legend(
        ncol=2,
        handlelength=2.2,
        columnspacing=0.8,
        handletextpad=0.4,
    )


def _draw_power(ax: Axes, texture: pd.DataFrame) -> None:
    for colour, protocol in zip(PALETTE, PROTOCOLS, strict=False):
        rows = _of(texture, protocol, NOISE_POWER, "xy")
        power_kbqml2_mm2 = rows["value"] / 1e6
        ax.plot(rows["at"], power_kbqml2_mm2, color=colour, label=protocol)

    ax.set_xlabel("in-plane frequency (1/mm)")
    ax.set_ylabel("noise power\n((kBq/mL)² mm²)")
    ax.set_ylim(bottom=0)
    ax.legend()


def _write_numbers(ax: Axes, texture: pd.DataFrame) -> None:
    ax.axis("off")
    _write_line(ax, 0, "noise in the liver", PROTOCOLS)

    for line, axis in enumerate(AXES, start=1):
        fwhm_mm = [_number(texture, protocol, TEXTURE_FWHM, axis) for protocol in PROTOCOLS]
        _write_line(ax, line, f"texture {axis} (mm)", fwhm_mm)

    cov = [_number(texture, protocol, LIVER_COV, "") for protocol in PROTOCOLS]
    _write_line(ax, len(AXES) + 1, "CoV (%)", cov)


def _write_line(ax: Axes, line: int, name: str, numbers: Sequence[str]) -> None:
    y = 0.9 - 0.17 * line
    weight = "normal" if line else "bold"
    ax.text(0.0, y, name, ha="left", va="center", weight=weight)

    for x, number in zip((0.78, 1.0), numbers, strict=True):
        ax.text(x, y, number, ha="right", va="center", weight=weight)


def _number(texture: pd.DataFrame, protocol: str, measure: str, axis: str) -> str:
    value = _of(texture, protocol, measure, axis)["value"].iloc[0]
    return "–" if pd.isna(value) else f"{value:.1f}"
