"""What finding 1 rests on: v1's noise against v2's, and how much of v2's noise each network passes,
by frequency.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.noise_texture import liver_noise
from ..evaluation.results import INPUT, Results
from .common import colours
from .style import WIDTH_IN, letters

HALVES = ("slow", "fast")  # axial waves, below and above half of the Nyquist frequency
COLUMNS = ["quantity", "network", "axial", "frequency_per_mm", "value"]
POWER_RATIO = "noise power, v1 over v2"
GAIN = "noise gain on v2 images"


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Power of v1's noise over v2's (a), and each network's gain for slow (b) and fast (c) axial
    waves.

    The gain is the amplitude of the noise that a network leaves over that of its input.
    """
    frequency, of_v2 = _power(results, "v2", INPUT)
    _, of_v1 = _power(results, "v1", INPUT)
    rows = list(_rows(POWER_RATIO, INPUT, frequency, of_v1 / of_v2))

    networks = results.population()
    for network in networks:
        _, left = _power(results, "v2", network)
        rows += _rows(GAIN, network, frequency, np.sqrt(left / of_v2))

    table = pd.DataFrame(rows, columns=COLUMNS)

    figure, axes = plt.subplots(1, 3, figsize=(WIDTH_IN, 2.5), layout="constrained")
    _draw_ratio(axes[0], table[table.quantity == POWER_RATIO])

    gains = table[table.quantity == GAIN]
    top = 1.05 * gains.value.max()
    for ax, half in zip(axes[1:], HALVES, strict=True):
        _draw_gain(ax, gains[gains.axial == half], networks, half)
        ax.set_ylim(0, top)

    axes[2].legend(ncols=2, loc="upper center")
    letters(axes, "abc")
    return figure, table


def _power(results: Results, protocol: str, network: str) -> tuple[np.ndarray, np.ndarray]:
    """In-plane frequency (N,), and the mean power (2, N) over the realisations."""
    noise = liver_noise(results, protocol, network)
    frequency, each = noise.power_by_axial_half()

    return frequency, each.mean(axis=0)


def _rows(
    quantity: str, network: str, frequency: np.ndarray, values: np.ndarray
) -> Iterator[tuple[str, str, str, float, float]]:
    for half, curve in zip(HALVES, values, strict=True):
        for at, value in zip(frequency, curve, strict=True):
            yield quantity, network, half, float(at), float(value)


def _draw_ratio(ax: Axes, table: pd.DataFrame) -> None:
    for half, style in zip(HALVES, ("-", "--"), strict=True):
        rows = table[table.axial == half]
        label = f"{half} axial waves"
        ax.plot(rows.frequency_per_mm, rows.value, color="black", ls=style, label=label)

    ax.axhline(1, color="grey", lw=0.6)
    ax.set_xlabel("in-plane frequency (1/mm)")
    ax.set_xlim(left=0)
    ax.set_ylim(0, 1.05 * max(1, table.value.max()))
    ax.set_ylabel("noise power, v1 over v2")
    ax.legend(loc="upper right", bbox_to_anchor=(1, 0.95))


def _draw_gain(ax: Axes, gains: pd.DataFrame, networks: list[str], half: str) -> None:
    colour = colours([INPUT, *networks])
    for network in networks:
        rows = gains[gains.network == network]
        ax.plot(rows.frequency_per_mm, rows.value, color=colour[network], label=network)

    ax.set_xlabel("in-plane frequency (1/mm)")
    ax.set_xlim(left=0)
    ax.set_ylabel(f"noise left, {half} axial waves")
