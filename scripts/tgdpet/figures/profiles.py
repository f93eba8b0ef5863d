"""Line profiles through the lesion and through the bladder, against the whole scan."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ..config import roles
from ..constants import ORGANS
from ..evaluation import measures as m
from ..evaluation.results import INPUT, ONLINE_BASES, Results
from ..io.nifti import suv_factor
from .common import colours, middle, seconds_text
from .style import WIDTH_IN, letter

MARGIN_MM = 45.0
COLUMNS = [
    "organ",
    "study",
    "network",
    "images",
    "inside",
    "x_mm",
    "truth",
    "suv",
    "sd",
    "minus_scan",
    "standard_error",
]
ROLES = {"lesion": roles.LESION, "bladder": roles.BLADDER}


def draw(results: Results) -> tuple[Figure, pd.DataFrame]:
    """Above: SUV along x through the middle of lesion and bladder; below: minus the whole scan.
    Grey: its VOI.
    """
    present = {s.role for s in results.studies}
    organs = [organ for organ, role in ROLES.items() if role in present]
    tables = {organ: profiles(results, organ) for organ in organs}
    figure, axes = plt.subplots(
        2, len(organs), figsize=(WIDTH_IN, 3.9), sharex="col", height_ratios=(1.5, 1), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for column, (organ, table) in zip(axes.T, tables.items(), strict=True):
        _column(column, table, results)
        images = int(table[table.network != results.scan].images.max())
        each = "mean of " + str(images) + " images of" if images > 1 else "one image of"
        sample = results.noisy(str(table.study.iloc[0]))
        column[0].set_title(f"{organ}: {each} {seconds_text(results, sample)}")
    for ax, text in zip(axes[0], "ab", strict=False):
        letter(ax, text)
    axes[0, 0].set_ylabel("SUV")
    axes[1, 0].set_ylabel(f"minus {seconds_text(results, results.scan)} (ΔSUV)")
    return figure, pd.concat(tables.values(), ignore_index=True)


def profiles(results: Results, organ: str) -> pd.DataFrame:
    """Profiles along x through an organ's middle, a row a voxel and network; the whole scan goes by
    its sample's name.

    Columns: organ, study, network, images (how many were averaged), inside (the organ's volume of
    interest), x_mm from its middle, truth (SUV; nan where the true activity is not known), suv
    (mean), sd over images, minus_scan, and the standard error of both means.
    """
    study = results.of_role(ROLES[organ])[0]
    target, voxel = m.organ(results.labels(study), ORGANS, organ), results.voxel_mm(study)
    x, y, z = middle(target)
    reach = m.bounding_box(target, round(MARGIN_MM / float(voxel[0])))[0]
    line = (reach, slice(y, y + 1), slice(z, z + 1))
    whole = results.image(study, "v2", results.scan)
    factor = suv_factor(whole.sidecar)
    reference = whole.data[line].ravel() / factor
    at = {
        "x_mm": (np.arange(reach.start, reach.stop) - x) * float(voxel[0]),
        "inside": target[line].ravel(),
    }
    truth_path = results.root / "listmode" / study / "truth.nii.gz"
    truth = results.read(truth_path).data[line].ravel() / factor if truth_path.exists() else np.nan
    head: dict[str, Any] = {"organ": organ, "study": study, "truth": truth, **at}
    tables = [pd.DataFrame({**head, "network": results.scan, "images": 1, "suv": reference})]
    online = organ == "bladder"
    networks = (
        (*results.population(ONLINE_BASES), *results.online())
        if online
        else tuple(results.population())
    )
    for network in (INPUT, *networks):
        if online:
            stack = results.image(study, "v2", results.noisy(study), network).data[line][None]
        else:
            stack = results.ensemble(study, "v2", line, network)
        values = stack.reshape(len(stack), -1) / factor
        sd = values.std(axis=0, ddof=1) if len(values) > 1 else np.full(len(reference), np.nan)
        suv = values.mean(axis=0)
        measured = {
            "suv": suv,
            "sd": sd,
            "minus_scan": suv - reference,
            "standard_error": sd / np.sqrt(len(values)),
        }
        tables.append(pd.DataFrame({**head, "network": network, "images": len(values), **measured}))
    return pd.concat(tables, ignore_index=True)[COLUMNS]


def _column(axes: np.ndarray, table: pd.DataFrame, results: Results) -> None:
    names = list(dict.fromkeys(table.network))
    look = colours(names) | {results.scan: "black"}
    step = float(table.x_mm.iloc[1] - table.x_mm.iloc[0])
    inside = table[table.inside].x_mm
    for ax in axes:
        ax.axvspan(
            inside.min() - step / 2, inside.max() + step / 2, color="#eeeeee", lw=0, zorder=0
        )
    axes[1].axhline(0, color="black", lw=0.8, ls=(0, (4, 2)))
    for network in names:
        rows = table[table.network == network]
        reference = network == results.scan
        label = (
            "input"
            if network == INPUT
            else seconds_text(results, network)
            if reference
            else network
        )
        options: dict[str, Any] = {"color": look[network], "lw": 1.6 if reference else 1.1}
        axes[0].plot(
            rows.x_mm, rows.suv, ls=(0, (4, 2)) if reference else "-", label=label, **options
        )
        if reference:
            continue
        axes[1].plot(rows.x_mm, rows.minus_scan, **options)
        for ax, values, band in (
            (axes[0], rows.suv, rows.sd),
            (axes[1], rows.minus_scan, rows.standard_error),
        ):
            ax.fill_between(
                rows.x_mm, values - band, values + band, color=look[network], alpha=0.15, lw=0
            )
    axes[0].set_ylim(bottom=0)
    truth = table[table.network == names[0]].truth
    if truth.notna().any():
        axes[0].plot(
            table[table.network == names[0]].x_mm,
            truth,
            ":",
            color="black",
            lw=1,
            ds="steps-mid",
            label="truth",
        )
    axes[0].legend(loc="best")
    axes[1].invert_xaxis()  # as in the images
    axes[1].set_xlabel("x from the middle (mm), patient's right on the left")
