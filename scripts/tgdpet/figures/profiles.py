"""Line profiles through the lesion and through the bladder, against the whole scan."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.line_profiles import ROLE_OF_ORGAN, line_profiles
from ..evaluation.results import INPUT, Results
from .common import colours, seconds_text
from .style import WIDTH_IN, letters

DASHED = (0, (4, 2))


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Above: SUV along x through the middle of lesion and bladder; below: minus the whole scan.

    Grey: its volume of interest.
    """
    present = {study.role for study in results.studies}
    organs = [organ for organ, role in ROLE_OF_ORGAN.items() if role in present]
    tables = [line_profiles(results, organ) for organ in organs]

    figure, axes = plt.subplots(
        2,
        len(organs),
        figsize=(WIDTH_IN, 3.9),
        sharex="col",
        height_ratios=(1.5, 1),
        squeeze=False,
        layout="constrained",
    )

    for column, table in zip(axes.T, tables, strict=True):
        _draw_organ(column, table, results)

    letters(axes[0], "ab")
    axes[0, 0].set_ylabel("SUV")
    axes[1, 0].set_ylabel(f"minus {seconds_text(results, results.scan)} (ΔSUV)")
    return figure, pd.concat(tables, ignore_index=True)


def _draw_organ(axes: Sequence[Axes], table: pd.DataFrame, results: Results) -> None:
    """The profiles through one organ, and the differences below them."""
    above, below = axes
    _shade_organ(axes, table)
    below.axhline(0, color="black", lw=0.8, ls=DASHED)

    networks = list(dict.fromkeys(table.network))
    colour = colours(networks)

    for network in networks:
        rows = table[table.network == network]

        if network == results.scan:
            scan = seconds_text(results, network)
            above.plot(
                rows.x_mm,
                rows.suv,
                ls=DASHED,
                label=scan,
                color="black",
                lw=1.6,
            )
            continue

        label = "input" if network == INPUT else network
        above.plot(
            rows.x_mm,
            rows.suv,
            ls="-",
            label=label,
            color=colour[network],
            lw=1.1,
        )
        below.plot(rows.x_mm, rows.minus_scan, color=colour[network], lw=1.1)
        _draw_band(above, rows.x_mm, rows.suv, rows.sd, colour[network])
        _draw_band(below, rows.x_mm, rows.minus_scan, rows.standard_error, colour[network])

    above.set_ylim(bottom=0)
    _draw_truth(above, table[table.network == networks[0]])
    above.legend(loc="best")
    above.set_title(_title(table, results))
    below.invert_xaxis()  # as in the images
    below.set_xlabel("x from the middle (mm), patient's right on the left")


def _shade_organ(axes: Sequence[Axes], table: pd.DataFrame) -> None:
    half_voxel_mm = float(table.x_mm.iloc[1] - table.x_mm.iloc[0]) / 2
    inside_mm = table[table.inside].x_mm

    for ax in axes:
        ax.axvspan(
            inside_mm.min() - half_voxel_mm,
            inside_mm.max() + half_voxel_mm,
            color="#eeeeee",
            lw=0,
            zorder=0,
        )


def _draw_band(ax: Axes, x: pd.Series, values: pd.Series, spread: pd.Series, colour: str) -> None:
    ax.fill_between(
        x,
        values - spread,
        values + spread,
        color=colour,
        alpha=0.15,
        lw=0,
    )


def _draw_truth(ax: Axes, rows: pd.DataFrame) -> None:
    """The true activity, where it is known."""
    if rows.truth.notna().any():
        ax.plot(
            rows.x_mm,
            rows.truth,
            ":",
            color="black",
            lw=1,
            ds="steps-mid",
            label="truth",
        )


def _title(table: pd.DataFrame, results: Results) -> str:
    organ = table.organ.iloc[0]
    images = int(table[table.network != results.scan].images.max())
    averaged = f"mean of {images} images of" if images > 1 else "one image of"
    sample = results.noisy(str(table.study.iloc[0]))
    return f"{organ}: {averaged} {seconds_text(results, sample)}"
