"""Histograms of kernel scores, by layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

BINS = 25
COLUMNS = 4
WIDTH_IN = 7.0
ROW_HEIGHT_IN = 1.3


def plot(scores: Mapping[str, Any], phi: float | None = 0.3) -> Any:
    """The KSE histogram of each layer, as a matplotlib figure; the caller shows or saves it.

    `scores`: module name -> KSE (N,), as from `score_kernels`. `phi`: threshold to mark, or None.
    Raises ValueError without scores; needs matplotlib.
    """
    if not scores:
        raise ValueError("scores: expected those of at least one layer, got none")

    from matplotlib.figure import Figure

    n_columns = min(COLUMNS, len(scores))
    n_rows = math.ceil(len(scores) / n_columns)
    figure = Figure(figsize=(WIDTH_IN, 0.5 + ROW_HEIGHT_IN * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, sharex=True, squeeze=False).flat

    for ax, (name, values) in zip(axes, scores.items(), strict=False):
        kse = torch.as_tensor(values).tolist()
        ax.hist(kse, bins=BINS, range=(0, 1), color="0.35")
        ax.set_title(name, fontsize=7)
        ax.tick_params(labelsize=6)

        if phi is not None:
            n_below = sum(value < phi for value in kse)
            ax.axvline(phi, color="tab:red", lw=1)
            ax.set_title(f"{name}: {n_below} of {len(kse)}", fontsize=7)

    for ax in list(axes)[len(scores) :]:
        ax.set_axis_off()

    figure.supxlabel("KSE", fontsize=8)
    figure.supylabel("kernels", fontsize=8)
    return figure
