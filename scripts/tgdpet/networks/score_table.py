"""The table of kernel scores on disk (module, channel, sparsity, entropy, kse; in newer ones also
alive).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..io.files import read_csv

if TYPE_CHECKING:
    import pandas as pd

SCORE_COLUMNS = ["module", "channel", "sparsity", "entropy", "kse"]


def read_scores(
    path: str | Path, kernels: Mapping[str, int] | None = None, column: str = "kse"
) -> dict[str, np.ndarray]:
    """KSE (or `column="sparsity"`) of each output kernel by module, float64, in channel order.

    `kernels`: the number that each scored module of the network has. A kernel that nothing reads
    has no sparsity: infinity. Raises ValueError naming the file when a column or a channel is
    missing, a KSE is no number in [0, 1] or a sparsity no number >= 0, or the table is not of a
    network with these kernels.
    """
    table = read_csv(path, SCORE_COLUMNS)
    table[column] = _numbers(path, table, column)
    scores = {}

    for module, rows in table.groupby("module", sort=False):
        rows = rows.sort_values("channel")

        if list(rows["channel"]) != list(range(len(rows))):
            raise ValueError(
                f"{path}: module {module}: expected channels 0..{len(rows) - 1}, each once"
            )

        scores[str(module)] = rows[column].to_numpy(np.float64, copy=True)

    if kernels is not None:
        _check_network(path, scores, kernels)

    return scores


def _numbers(path: str | Path, table: pd.DataFrame, column: str) -> pd.Series:
    """A column as numbers within its limits, or a ValueError."""
    import pandas as pd

    numbers = pd.to_numeric(table[column], errors="coerce")

    if column == "kse":
        highest = 1.0
        allowed = "in [0, 1]"
    else:
        highest = np.inf
        allowed = ">= 0"

    if column == "sparsity":
        numbers = numbers.fillna(np.inf)

    if not numbers.between(0, highest).all():
        raise ValueError(f"{path}: column {column!r}: expected numbers {allowed}")

    return numbers


def _check_network(
    path: str | Path, scores: Mapping[str, np.ndarray], kernels: Mapping[str, int]
) -> None:
    """ValueError where the scores are not those of a network with these kernels by module."""
    for module in {**kernels, **scores}:
        n_expected = kernels.get(module, 0)
        n_kernels = len(scores.get(module, ()))

        if n_kernels != n_expected:
            raise ValueError(
                f"{path}: scores of another network: {module}: "
                f"expected {n_expected} kernels, got {n_kernels}"
            )
