"""Noise power spectra in the liver: of v1 and v2 images, and of every network's v2 output."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.noise_texture import noise_spectrum
from ..evaluation.results import INPUT, Results, records
from .common import colours
from .style import WIDTH_IN, letters

FLOOR = 1e-4  # of the largest: where a logarithmic axis ends
KBQML2 = 1e-6  # of a (Bq/mL)²


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Power (a), shape: area 1 (b), and each spectrum's noise and mean frequency (c)."""
    shown = [("v1", INPUT), ("v2", INPUT)]
    shown += [("v2", network) for network in results.population()]
    spectra = []
    numbers = []

    for protocol, network in shown:
        spectrum, row = noise_spectrum(results, protocol, network)
        spectra.append(spectrum)
        numbers.append(row)

    curves = pd.concat(spectra, ignore_index=True)
    numbers_table = pd.DataFrame(numbers)

    figure, axes = plt.subplots(
        1,
        3,
        figsize=(WIDTH_IN, 2.5),
        width_ratios=(1, 1, 0.95),
        layout="constrained",
    )
    _draw_power(axes[0], curves)
    _draw_shape(axes[1], curves)
    _write_numbers(axes[2], numbers_table)
    letters(axes, "abc")
    return figure, curves.merge(numbers_table, on=["protocol", "network"])


def _name(protocol: str, network: str) -> str:
    return f"{protocol} input" if network == INPUT else network


def _draw_power(ax: Axes, curves: pd.DataFrame) -> None:
    """Each spectrum with its standard error."""
    for rows, look in _curves(curves):
        power = rows.nps_bqml2_mm2 * KBQML2
        error = rows.standard_error * KBQML2
        ax.plot(rows.frequency_per_mm, power, **look)
        ax.fill_between(
            rows.frequency_per_mm,
            power - error,
            power + error,
            color=look["color"],
            alpha=0.25,
            lw=0,
        )

    ax.set_xlabel("in-plane frequency (1/mm)")
    ax.set_xlim(left=0)

    top = float(curves.nps_bqml2_mm2.max()) * KBQML2
    ax.set_yscale("log")
    ax.set_ylim(top * FLOOR, top * 2)
    ax.set_ylabel("noise power ((kBq/mL)² mm²)")


def _draw_shape(ax: Axes, curves: pd.DataFrame) -> None:
    """Each spectrum divided by its area."""
    for rows, look in _curves(curves):
        ax.plot(rows.frequency_per_mm, rows.shape_mm, **look)

    ax.set_xlabel("in-plane frequency (1/mm)")
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    ax.set_ylabel("noise power / its area (mm)")
    ax.legend()


def _curves(curves: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, dict[str, Any]]]:
    """Each spectrum's rows, with its colour, line style and label."""
    networks = list(dict.fromkeys(curves.network))
    colour = colours(networks)

    for (protocol, network), rows in curves.groupby(["protocol", "network"], sort=False):
        dashed = network == INPUT and protocol == "v1"
        look: Any = {
            "color": colour[str(network)],
            "ls": "--" if dashed else "-",
            "label": _name(str(protocol), str(network)),
        }
        yield rows, look


def _write_numbers(ax: Axes, numbers: pd.DataFrame) -> None:
    ax.axis("off")
    sd_x = 0.62
    frequency_x = 1.05
    head: Any = {
        "ha": "right",
        "va": "top",
        "weight": "bold",
        "fontsize": 7,
    }
    ax.text(sd_x, 1.0, "SD\n(kBq/mL)", **head)
    ax.text(frequency_x, 1.0, "mean\nfrequency\n(1/mm)", **head)

    for i, row in enumerate(records(numbers)):
        y = 0.74 - 0.11 * i
        sd_kbqml = row.noise_sd_bqml / 1000
        ax.text(-0.1, y, _name(row.protocol, row.network), va="center")
        ax.text(sd_x, y, f"{sd_kbqml:.2f}", ha="right", va="center")
        ax.text(frequency_x, y, f"{row.mean_frequency_per_mm:.3f}", ha="right", va="center")
