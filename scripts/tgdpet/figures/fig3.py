"""Fig. 3: one study reconstructed with v1 and v2, and how coarse each one's noise is."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..config import roles
from ..constants import ORGANS
from ..evaluation import measures as m
from ..evaluation import noise_power
from ..evaluation.measures import Window
from ..evaluation.results import INPUT, Results
from .common import box_mm, display_limit, middle, on_plane, seconds_text
from .style import GREY, PALETTE, WHITE, WIDTH_IN, YELLOW, arrow, bar, coronal, letter, show, sides

PROTOCOLS = ("v1", "v2")
AXES = ("x", "y", "z")
N_LAGS = 8


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Rows: whole-scan and noisy images of both protocols with a zoom on the liver; autocorrelation
    and noise power.
    """
    study = results.of_role(roles.LESION)[0]
    grain = pd.concat([_grain(results, study, p) for p in PROTOCOLS], ignore_index=True)
    whole, zoom = _windows(results, study)
    voxel = results.voxel_mm(study)
    height = (WIDTH_IN - 1) / (2 * sum(_width_over_height(w, voxel) for w in (whole, zoom)))
    images_in, plots_in = 2 * height + 0.45, 1.95
    figure = plt.figure(figsize=(WIDTH_IN, images_in + plots_in), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(images_in, plots_in))
    top, bottom = parts
    _images(top, results, study)
    axes: Any = bottom.subplots(1, 3, width_ratios=(1, 1, 0.95))
    _autocorrelation(axes[0], grain)
    _power(axes[1], grain)
    _numbers(axes[2], grain)
    for ax, text in zip(axes, "cde", strict=True):
        letter(ax, text)
    return figure, grain


def _images(figure: Any, results: Results, study: str) -> None:
    labels, voxel = results.labels(study), results.voxel_mm(study)
    whole, zoom = _windows(results, study)
    y = int(middle(labels == ORGANS["lesion"])[1])
    limit = display_limit(results.suv(study, "v2", results.scan), labels)
    noisy = results.noisy(study)
    # Panels of one height: their widths follow from the boxes' shapes.
    widths = [_width_over_height(w, voxel) for w in (whole, zoom)] * 2
    axes = figure.subplots(2, 4, width_ratios=widths)
    for row, protocol in enumerate(PROTOCOLS):
        for column, (sample, window) in enumerate(product((results.scan, noisy), (whole, zoom))):
            ax = axes[row, column]
            shown = show(
                ax, coronal(results.suv(study, protocol, sample), y, window), voxel[[0, 2]], limit
            )
            if row == 0:
                zoomed = ", liver" if window is zoom else ""
                ax.set_title(f"{seconds_text(results, sample)}{zoomed}")
            if window is whole:
                _frame(ax, zoom, whole, voxel)
                sides(ax)
            elif sample == results.scan:
                arrow(
                    ax,
                    on_plane(middle(labels == ORGANS["lesion"]), zoom, voxel),
                    YELLOW,
                    direction=(1, 1),
                )
            else:
                arrow(ax, _in_liver(results, study, y, zoom), WHITE, direction=(1, -1))
        axes[row, 0].set_ylabel(protocol, fontsize=9)
    for ax, text in zip(axes[:, 0], "ab", strict=True):
        letter(ax, text, (-16, 4))
    bar(figure, shown, list(axes.flat), "SUV")


def _windows(results: Results, study: str) -> tuple[Window, Window]:
    """The whole body, and the liver."""
    labels, voxel = results.labels(study), results.voxel_mm(study)
    liver = (labels == ORGANS["liver"]) | (labels == ORGANS["lesion"])
    return box_mm(m.body(labels), voxel, (15, 0, 0)), box_mm(liver, voxel, (15, 0, 25))


def _in_liver(results: Results, study: str, y: int, window: Window) -> tuple[float, float]:
    """Where the liver's noise is pointed at: the middle of its lesion-free part in the plane."""
    labels = results.labels(study)
    voi = m.liver_voi(labels, ORGANS)
    plane = np.zeros_like(voi)
    plane[:, y] = voi[:, y]
    return on_plane(middle(plane if plane.any() else voi), window, results.voxel_mm(study))


def _width_over_height(window: Window, voxel: np.ndarray) -> float:
    x, _, z = window
    return float((x.stop - x.start) * voxel[0] / ((z.stop - z.start) * voxel[2]))


def _frame(ax: Axes, inner: Window, outer: Window, voxel: np.ndarray) -> None:
    left, bottom = (
        (outer[0].stop - inner[0].stop) * voxel[0],
        (inner[2].start - outer[2].start) * voxel[2],
    )
    size = (inner[0].stop - inner[0].start) * voxel[0], (inner[2].stop - inner[2].start) * voxel[2]
    ax.add_patch(Rectangle((left, bottom), *size, fill=False, ec=PALETTE[0], lw=0.8))


def _grain(results: Results, study: str, protocol: str) -> pd.DataFrame:
    """Autocorrelation, noise power and their summaries in the liver, of realisations minus their
    mean.
    """
    voi, voxel = m.liver_voi(results.labels(study), ORGANS), results.voxel_mm(study)
    box = m.bounding_box(voi)
    noise = noise_power.ensemble_noise(results.ensemble(study, protocol, box))
    rows: list[tuple[str, str, str, float, float]] = []
    for axis, name in enumerate(AXES):
        rho = np.mean([m.autocorrelation(n, voi[box], axis, N_LAGS) for n in noise], axis=0)
        rows += [
            (protocol, "autocorrelation", name, float(lag * voxel[axis]), float(r))
            for lag, r in enumerate(rho)
        ]
        rows.append(
            (protocol, "grain_fwhm_mm", name, float("nan"), m.grain_fwhm(rho, float(voxel[axis])))
        )
    frequency, power = noise_power.radial_power(noise, voi[box], voxel)
    points = zip(frequency, power.mean(axis=0), strict=True)
    rows += [(protocol, "noise_power_bqml2_mm2", "xy", float(f), float(p)) for f, p in points]
    measured = results.measured("liver_cov", roles.LESION, INPUT, protocol, study)
    rows.append((protocol, "liver_cov_percent", "", float("nan"), measured))
    return pd.DataFrame(rows, columns=["protocol", "measure", "axis", "at", "value"])


def _autocorrelation(ax: Axes, grain: pd.DataFrame) -> None:
    chosen = grain[grain.measure == "autocorrelation"]
    for colour, protocol in zip(PALETTE, PROTOCOLS, strict=False):
        for axis, style in zip(AXES, ("-", "--", ":"), strict=True):
            part = chosen[(chosen.protocol == protocol) & (chosen.axis == axis)]
            ax.plot(
                part["at"], part["value"], style, lw=1.1, color=colour, label=f"{protocol}, {axis}"
            )
    ax.axhline(0.5, color=GREY, lw=0.5, ls=(0, (1, 2)))
    ax.axhline(0, color="#bbbbbb", lw=0.5)
    ax.set_xlabel("distance (mm)")
    ax.set_ylabel("noise autocorrelation")
    ax.legend(ncol=2, handlelength=2.2, columnspacing=0.8, handletextpad=0.4)


def _power(ax: Axes, grain: pd.DataFrame) -> None:
    for colour, protocol in zip(PALETTE, PROTOCOLS, strict=False):
        part = grain[(grain.measure == "noise_power_bqml2_mm2") & (grain.protocol == protocol)]
        ax.plot(part["at"], part["value"] / 1e6, color=colour, label=protocol)
    ax.set_xlabel("in-plane frequency (1/mm)")
    ax.set_ylabel("noise power\n((kBq/mL)² mm²)")
    ax.set_ylim(bottom=0)
    ax.legend()


def _numbers(ax: Axes, grain: pd.DataFrame) -> None:
    ax.axis("off")
    lines: list[tuple[str, ...]] = [("noise in the liver", *PROTOCOLS)]
    lines += [
        (f"grain {a} (mm)", *(_value(grain, p, "grain_fwhm_mm", a) for p in PROTOCOLS))
        for a in AXES
    ]
    lines.append(("CoV (%)", *(_value(grain, p, "liver_cov_percent", "") for p in PROTOCOLS)))
    for i, cells in enumerate(lines):
        for x, text in zip((0.0, 0.78, 1.0), cells, strict=True):
            ax.text(
                x,
                0.9 - 0.17 * i,
                text,
                ha="right" if x else "left",
                va="center",
                weight="normal" if i else "bold",
            )


def _value(grain: pd.DataFrame, protocol: str, measure: str, axis: str) -> str:
    value = grain[(grain.protocol == protocol) & (grain.measure == measure) & (grain.axis == axis)][
        "value"
    ].iloc[0]
    return "–" if pd.isna(value) else f"{value:.1f}"
