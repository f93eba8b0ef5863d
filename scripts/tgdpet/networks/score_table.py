"""The table of kernel scores on disk (module, channel, sparsity, entropy, kse)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ..io.files import read_csv

COLUMNS = ["module", "channel", "sparsity", "entropy", "kse"]


def read_scores(
    path: str | Path, kernels: Mapping[str, int] | None = None, column: str = "kse"
) -> dict[str, np.ndarray]:
    """KSE (or `column="sparsity"`) of each output kernel by module, float64, in channel order.

    `kernels`: the number that each scored module of the network has. A kernel that nothing reads
    has no sparsity: infinity. Raises ValueError naming the file when a column or a channel is
    missing, a KSE is no number in [0, 1] or a sparsity no number >= 0, or the table is not of a
    network with these kernels.
    """
    table = read_csv(path, COLUMNS)
    table[column] = pd.to_numeric(table[column], errors="coerce")
    if column == "sparsity":
        table[column] = table[column].fillna(np.inf)
    high, allowed = (1, "in [0, 1]") if column == "kse" else (np.inf, ">= 0")
    if not table[column].between(0, high).all():
        raise ValueError(f"{path}: column {column!r}: expected numbers {allowed}")
    out = {}
    for module, rows in table.groupby("module", sort=False):
        rows = rows.sort_values("channel")
        if list(rows["channel"]) != list(range(len(rows))):
            raise ValueError(
                f"{path}: module {module}: expected channels 0..{len(rows) - 1}, each once"
            )
        out[str(module)] = rows[column].to_numpy(np.float64, copy=True)
    if kernels is not None:
        for module in {**kernels, **out}:
            expected, n = kernels.get(module, 0), len(out.get(module, ()))
            if n != expected:
                raise ValueError(
                    f"{path}: scores of another network: {module}: expected {expected} kernels, got {n}"
                )
    return out
