"""The table of kernel scores on disk (module, channel, sparsity, entropy, kse)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from .files import read_csv

COLUMNS = ["module", "channel", "sparsity", "entropy", "kse"]


def read_scores(path: str | Path, kernels: Mapping[str, int] | None = None) -> dict[str, np.ndarray]:
    """KSE of each output kernel by module, float64, in channel order.

    `kernels`: the number that each scored module of the network has. Raises ValueError naming the file when a column
    or a channel is missing, a KSE is no number in [0, 1], or the table is not of a network with these kernels.
    """
    table = read_csv(path, COLUMNS)
    kse = pd.to_numeric(table["kse"], errors="coerce")
    if not kse.between(0, 1).all():
        raise ValueError(f"{path}: column 'kse': expected numbers in [0, 1]")
    out = {}
    for module, rows in table.groupby("module", sort=False):
        rows = rows.sort_values("channel")
        if list(rows["channel"]) != list(range(len(rows))):
            raise ValueError(f"{path}: module {module}: expected channels 0..{len(rows) - 1}, each once")
        out[str(module)] = rows["kse"].to_numpy(np.float64, copy=True)
    if kernels is not None:
        for module in {**kernels, **out}:
            expected, n = kernels.get(module, 0), len(out.get(module, ()))
            if n != expected:
                raise ValueError(f"{path}: scores of another network: {module}: expected {expected} kernels, got {n}")
    return out
