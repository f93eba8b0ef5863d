"""How figures look: fonts, colours, PET slices on an inverse grey scale in SUV, arrows, sides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
import numpy.typing as npt
from cycler import cycler
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from ..evaluation.measures import Window
from ..io.files import atomic

WIDTH_IN = 6.9  # two columns; fonts stay readable when printed at one column's width of 4.8 in
RED = "#d7191c"
YELLOW = "#e6a700"
WHITE = "#ffffff"
GREY = "#666666"
LIGHT_GREY = "#bbbbbb"
MINUS = "\N{MINUS SIGN}"
CORONAL_SIDES = ("R", "L")
SAGITTAL_SIDES = ("A", "P")
VISIBLE = 0.02  # of a grey scale
# Okabe and Ito's palette: told apart by colour-blind readers.
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
RC: dict[Any, Any] = {
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "lines.linewidth": 1.2,
    "axes.prop_cycle": cycler(color=PALETTE),
    "savefig.dpi": 250,
    "figure.dpi": 120,
}
Plane = npt.NDArray[np.floating]
Numbers = Sequence[float] | npt.NDArray[Any]


@contextmanager
def styled(voxels: bool = False) -> Iterator[None]:
    """The figures' matplotlib settings, without touching the caller's.

    Images are interpolated (bicubic), as viewers do, unless `voxels` are to be seen.
    """
    with plt.rc_context({**RC, "image.interpolation": "nearest" if voxels else "bicubic"}):
        yield


def coronal(volume: npt.NDArray[Any], y: int, window: Window | None = None) -> Plane:
    """Coronal plane of an RAS volume as radiologists read it.

    Head up, the patient's right (high x) on the left.
    """
    x_range, _, z_range = window or (slice(None), slice(None), slice(None))
    return np.asarray(volume[x_range, y, z_range])[::-1].T


def projection(volume: npt.NDArray[Any], axis: int, window: Window) -> Plane:
    """Maximum intensity projection of an RAS volume, head up.

    Coronal (`axis` 1, the patient's right on the left) or sagittal (`axis` 0, the front on the
    left).
    """
    return np.asarray(volume[window].max(axis=axis))[::-1].T


def show(ax: Axes, plane: Plane, pixel_mm: Numbers, vmax: float, **options: Any) -> Any:
    """One plane, aspect in mm; inverse grey from 0 to `vmax` unless `options` say otherwise."""
    settings = {
        "cmap": "gray_r",
        "vmin": 0,
        "vmax": vmax,
        "origin": "lower",
        **options,
    }
    width_mm = plane.shape[1] * pixel_mm[0]
    height_mm = plane.shape[0] * pixel_mm[1]
    extent = (0, width_mm, 0, height_mm)
    image = ax.imshow(plane, extent=extent, aspect="equal", **settings)

    ax.set_xticks([])
    ax.set_yticks([])

    for spine in ax.spines.values():
        spine.set_visible(True)
        spine.set_color(LIGHT_GREY)
        spine.set_linewidth(0.5)

    return image


def show_difference(ax: Axes, plane: Plane, pixel_mm: Numbers, limit: float) -> Any:
    """One plane of a difference: red above, blue below, symmetric about 0."""
    return show(ax, plane, pixel_mm, limit, cmap="RdBu_r", vmin=-limit)


def blank(ax: Axes) -> None:
    """An empty panel that keeps its axis label."""
    ax.set_frame_on(False)
    ax.set_xticks([])
    ax.set_yticks([])


def arrow(
    ax: Axes,
    tip_mm: Numbers,
    colour: str,
    direction: Sequence[float] = (-1, 1),
    length: float = 0.13,
) -> None:
    """An arrow whose head points at `tip_mm` (plane coordinates), coming from `direction`.

    Sizes are in panel widths.
    """
    left, right = ax.get_xlim()
    panel_width = right - left

    towards: npt.NDArray[Any] = np.asarray(direction, float)
    unit = towards / float(np.linalg.norm(direction)) * panel_width
    tip = np.asarray(tip_mm, float) + 0.045 * unit

    style: Any = {
        "arrowstyle": "-|>,head_width=0.22,head_length=0.4",
        "color": colour,
        "lw": 1.4,
        "shrinkA": 0,
        "shrinkB": 0,
    }

    if colour == WHITE:  # seen on white too
        style["path_effects"] = [withStroke(linewidth=2.6, foreground="black")]

    ax.annotate(
        "",
        xy=tuple(tip),
        xytext=tuple(tip + length * unit),
        arrowprops=style,
        annotation_clip=False,
    )


def sides(ax: Axes, names: tuple[str, str] = CORONAL_SIDES) -> None:
    """Mark the sides of the patient, in the upper corners."""
    left, right = names
    _write_inside(ax, 0.02, 0.98, left, ha="left", va="top", fontsize=6.5)
    _write_inside(ax, 0.98, 0.98, right, ha="right", va="top", fontsize=6.5)


def corner(ax: Axes, text: str) -> None:
    """A panel's letter, inside its lower left corner."""
    _write_inside(
        ax,
        0.02,
        0.03,
        text,
        ha="left",
        va="bottom",
        fontsize=8,
        weight="bold",
    )


def _write_inside(ax: Axes, x: float, y: float, text: str, **options: Any) -> None:
    written = ax.text(
        x,
        y,
        text,
        transform=ax.transAxes,
        color="#333333",
        **options,
    )
    written.set_path_effects([withStroke(linewidth=1.6, foreground="white")])


def bar(figure: Figure, image: Any, axes: Sequence[Axes], label: str, **options: Any) -> None:
    """One scale bar for all `axes`, with a tip where their images go beyond the scale."""
    settings = {"shrink": 0.9, "aspect": 25, "pad": 0.015, "extend": _beyond(image, axes)}
    colorbar = figure.colorbar(image, ax=list(axes), label=label, **{**settings, **options})
    colorbar.outline.set_linewidth(0.5)


def _beyond(image: Any, axes: Sequence[Axes]) -> str:
    """Which ends of an image's scale the images of `axes` go beyond, in matplotlib's words.

    By more than can be seen: denoised air is a little below zero here and there.
    """
    low, high = image.get_clim()
    seen = VISIBLE * (high - low)
    values = [np.asarray(drawn.get_array()) for ax in axes for drawn in ax.get_images()]
    below = any(array.min() < low - seen for array in values)
    above = any(array.max() > high + seen for array in values)

    ends = {(False, False): "neither", (True, False): "min", (False, True): "max"}
    return ends.get((below, above), "both")


def letter(ax: Axes, text: str, offset_points: tuple[float, float] = (-24, 10)) -> None:
    """A panel's letter, outside its upper left corner."""
    coordinates: Any = {"xycoords": "axes fraction", "textcoords": "offset points"}
    ax.annotate(
        text,
        (0, 1),
        xytext=offset_points,
        weight="bold",
        fontsize=9,
        **coordinates,
    )


def letters(
    axes: Iterable[Axes], text: str, offset_points: tuple[float, float] = (-24, 10)
) -> None:
    """The panels' letters, one for each character of `text`, as far as there are panels."""
    for ax, character in zip(axes, text, strict=False):
        letter(ax, character, offset_points)


def number_text(value: float, digits: int) -> str:
    """A number with a real minus sign."""
    return f"{value:.{digits}f}".replace("-", MINUS)


def save_figure(figure: Figure, stem: Path) -> None:
    """Write {stem}.png and {stem}.pdf whole or not at all, and close the figure.

    The PDF has vector text, and no date inside. Its panels lie where those of the PNG do.
    """
    for suffix, metadata in ((".png", {"Software": None}), (".pdf", {"CreationDate": None})):
        with atomic(stem.with_name(stem.name + suffix)) as temporary:
            figure.savefig(
                temporary,
                metadata=metadata,
                bbox_inches="tight",
                pad_inches=0.03,
            )

        # The layout takes as long as the drawing.
        figure.set_layout_engine("none")

    plt.close(figure)
