"""The table of kernel scores on disk (module, channel, sparsity, entropy, kse)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

COLUMNS = ["module", "channel", "sparsity", "entropy", "kse"]


def read_scores(path: str | Path) -> dict[str, np.ndarray]:
    """KSE of each output kernel by module, float64, in channel order.

    Raises ValueError naming the file when a column or a channel is missing.
    """
    table = pd.read_csv(path)
    missing = [c for c in COLUMNS if c not in table]
    if missing:
        raise ValueError(f"{path}: column {missing[0]!r} is missing; expected {', '.join(COLUMNS)}")
    out = {}
    for module, rows in table.groupby("module", sort=False):
        rows = rows.sort_values("channel")
        if list(rows["channel"]) != list(range(len(rows))):
            raise ValueError(f"{path}: module {module}: expected channels 0..{len(rows) - 1}, each once")
        out[str(module)] = rows["kse"].to_numpy(np.float64, copy=True)
    return out
