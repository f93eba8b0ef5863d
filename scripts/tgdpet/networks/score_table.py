"""The table of kernel scores on disk (module, channel, sparsity, entropy, kse; in newer ones also
alive).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..io.contents import CellKind, Number, Text, check_table
from ..io.files import read_csv

if TYPE_CHECKING:
    import pandas as pd

# The columns of a table of scores. A kernel that nothing reads has neither sparsity nor entropy.
SCORES: dict[str, CellKind] = {
    "module": Text(),
    "channel": Number(low=0, whole=True),
    "sparsity": Number(low=0, optional=True, infinite=True),
    "entropy": Number(optional=True),
    "kse": Number(low=0, high=1),
}
SCORE_COLUMNS = list(SCORES)
ALIVE = {"alive": Number(low=0, high=1, whole=True)}
# The columns of a table of what dropping the kernels below phi changes.
DROPPED: dict[str, CellKind] = {
    "phi": Number(low=0),
    "kernels_dropped": Number(low=0, whole=True),
    "kernels_total": Number(low=1, whole=True),
    "parameters_dropped": Number(low=0, whole=True),
    "parameters_total": Number(low=1, whole=True),
    "rmse_to_undropped_bqml": Number(low=0),
    "rmse_to_reference_bqml": Number(low=0),
    "relative_change": Number(low=0),
}


def read_dropped(path: str | Path) -> pd.DataFrame:
    """A table of what dropping kernels changes (DROPPED), in the order of phi.

    ValueError naming file, column and row where a cell is not of its kind.
    """
    table = read_csv(path, DROPPED)
    check_table(table, DROPPED, path)

    return table.sort_values("phi")


def read_score_table(path: str | Path) -> pd.DataFrame:
    """A table of scores (SCORES); ValueError naming file, column and row where a cell is not of its
    kind.
    """
    table = read_csv(path, SCORES)
    check_table(table, SCORES, path)

    return table


def read_scores(
    path: str | Path, kernels: Mapping[str, int] | None = None, column: str = "kse"
) -> dict[str, np.ndarray]:
    """KSE (or `column="sparsity"`) of each output kernel by module, float64, in channel order.

    `kernels`: the number that each scored module of the network has. A kernel that nothing reads
    has no sparsity: infinity. Raises ValueError naming the file when a column or a channel is
    missing, a KSE is no number in [0, 1] or a sparsity no number >= 0, or the table is not of a
    network with these kernels.
    """
    table = read_score_table(path)
    if column == "sparsity":
        table[column] = table[column].fillna(np.inf)

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


def read_alive(path: str | Path, kernels: Mapping[str, int] | None = None) -> dict[str, np.ndarray]:
    """Which output kernels are alive: module -> bool, in channel order; ValueError as
    `read_scores`, and of an older table without that column.
    """
    table = read_csv(path, SCORES | ALIVE)
    check_table(table, SCORES | ALIVE, path)

    return {name: v == 1 for name, v in read_scores(path, kernels, "alive").items()}


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
