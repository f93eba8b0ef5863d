"""Noise power spectra in the liver: of v1 and v2 images, and of what each network makes of v2
images.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..config import roles
from ..constants import ORGANS
from ..evaluation import measures as m
from ..evaluation import noise_power
from ..evaluation.results import INPUT, Results, records
from .common import colours
from .style import WIDTH_IN, letter

COLUMNS = ["protocol", "network", "frequency_per_mm", "nps_bqml2_mm2", "standard_error", "shape_mm"]
NUMBERS = ["protocol", "network", "noise_sd_bqml", "mean_frequency_per_mm"]
FLOOR = 1e-4  # of the largest: where a logarithmic axis ends


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Power (a), shape: area 1 (b), and each spectrum's noise and mean frequency (c)."""
    found = [_spectrum(results, protocol, network) for protocol, network in _shown(results)]
    curves = pd.concat([curve for curve, _ in found], ignore_index=True)
    numbers = pd.DataFrame([row for _, row in found], columns=NUMBERS)
    figure, axes = plt.subplots(
        1, 3, figsize=(WIDTH_IN, 2.5), width_ratios=(1, 1, 0.95), layout="constrained"
    )
    for ax, column in zip(axes, ("nps_bqml2_mm2", "shape_mm"), strict=False):
        _curves(ax, curves, column)
    _numbers(axes[2], numbers)
    for ax, text in zip(axes, "abc", strict=True):
        letter(ax, text)
    return figure, curves.merge(numbers, on=["protocol", "network"])


def _shown(results: Results) -> list[tuple[str, str]]:
    return [("v1", INPUT), ("v2", INPUT), *(("v2", n) for n in results.population())]


def _spectrum(
    results: Results, protocol: str, network: str
) -> tuple[pd.DataFrame, tuple[str, str, float, float]]:
    study = results.of_role(roles.LESION)[0]
    voi, voxel = m.liver_voi(results.labels(study), ORGANS), results.voxel_mm(study)
    box = m.bounding_box(voi)
    noise = noise_power.ensemble_noise(results.ensemble(study, protocol, box, network))
    frequency, each = noise_power.radial_power(noise, voi[box], voxel)
    power = each.mean(axis=0)
    table = pd.DataFrame({"frequency_per_mm": frequency, "nps_bqml2_mm2": power})
    table["standard_error"] = each.std(axis=0, ddof=1) / np.sqrt(len(each))
    table["shape_mm"] = power / np.trapezoid(power, frequency)
    sd = float(np.sqrt((noise[:, voi[box]] ** 2).mean()))
    table = table.assign(protocol=protocol, network=network)[COLUMNS]
    return table, (protocol, network, sd, noise_power.mean_frequency(frequency, power))


def _name(protocol: str, network: str) -> str:
    return f"{protocol} input" if network == INPUT else network


def _curves(ax: Axes, curves: pd.DataFrame, column: str) -> None:
    absolute = column == "nps_bqml2_mm2"
    look = colours(list(dict.fromkeys(curves.network)))
    for (protocol, network), rows in curves.groupby(["protocol", "network"], sort=False):
        style = {"v1": "--", "v2": "-"}[str(protocol)] if network == INPUT else "-"
        scale = 1e-6 if absolute else 1.0
        at, values = rows.frequency_per_mm, rows[column] * scale
        ax.plot(
            at, values, style, color=look[str(network)], label=_name(str(protocol), str(network))
        )
        if absolute:
            error = rows.standard_error * scale
            ax.fill_between(
                at, values - error, values + error, color=look[str(network)], alpha=0.25, lw=0
            )
    ax.set_xlabel("in-plane frequency (1/mm)")
    ax.set_xlim(left=0)
    if absolute:
        top = float(curves[column].max()) * 1e-6
        ax.set_yscale("log")
        ax.set_ylim(top * FLOOR, top * 2)
        ax.set_ylabel("noise power ((kBq/mL)² mm²)")
    else:
        ax.set_ylim(bottom=0)
        ax.set_ylabel("noise power / its area (mm)")
        ax.legend()


def _numbers(ax: Axes, numbers: pd.DataFrame) -> None:
    ax.axis("off")
    ends = (0.62, 1.05)
    for x, head in zip(ends, ("SD\n(kBq/mL)", "mean\nfrequency\n(1/mm)"), strict=True):
        ax.text(x, 1.0, head, ha="right", va="top", weight="bold", fontsize=7)
    for i, row in enumerate(records(numbers)):
        y = 0.74 - 0.11 * i
        cells = (f"{row.noise_sd_bqml / 1000:.2f}", f"{row.mean_frequency_per_mm:.3f}")
        ax.text(-0.1, y, _name(row.protocol, row.network), va="center")
        for x, cell in zip(ends, cells, strict=True):
            ax.text(x, y, cell, ha="right", va="center")
