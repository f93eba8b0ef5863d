"""phi chosen, not guessed: what each phi of a sweep gains, forgets and would drop, and which one is
recommended.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..config.sweep import CHOICE, MEASURED, PLAIN
from ..runtime.seeds import numpy_generator
from ..training.tradeoff import allowed, chosen
from .bootstrap import Interval, interval
from .seed_runs import read_table


def read(path: Path) -> pd.DataFrame:
    """Read a table MEASURED, sorted by phi; ValueError naming the file where it is damaged or lacks
    0 or `PLAIN`.
    """
    table = read_table(path, [c for c in MEASURED if c != "relative_change"]).sort_values(
        "phi", ignore_index=True
    )
    phis = table["phi"].tolist()
    if len(phis) < 3 or phis[0] != 0 or phis[-1] != PLAIN or len(set(phis)) < len(phis):
        raise ValueError(
            f"{path}: column 'phi': expected 0, one or more above it, and inf, each once, got {phis}"
        )
    return table


def choose(tables: Sequence[pd.DataFrame], seed: int) -> pd.DataFrame:
    """The table CHOICE of one or more runs (tables MEASURED, one a seed), with the recommended phi.

    Gain and forgetting are changes of the loss against the base's, means over seeds. Recommended is
    what `chosen`, the rule of the penalties' strengths, takes of all phi but 0: of those that
    forget at most half of what plain fine-tuning does, the one that gains most. `best_of_seeds`
    counts the seeds that alone would choose this phi; `seed` decides the intervals' resamples.
    Raises ValueError where the tables are of different sweeps.
    """
    first = tables[0]
    for table in tables[1:]:
        if table["phi"].tolist() != first["phi"].tolist():
            raise ValueError(
                f"sweep: phi {table['phi'].tolist()} differs from {first['phi'].tolist()}: no repetition"
            )
    alone = [_best(_changes(t, "new") * -1, _changes(t, "old")) for t in tables]
    rows = []
    for i, phi in enumerate(first["phi"]):
        shares = [
            np.mean([100 * t[f"{what}_below"][i] / t[f"{what}_total"][i] for t in tables])
            for what in ("kernels", "parameters")
        ]
        values = {
            "change": [100 * t["relative_change"][i] for t in tables],
            "gain": [-_changes(t, "new")[i] for t in tables],
            "forgetting": [_changes(t, "old")[i] for t in tables],
        }
        parts = [x for what in values.values() for x in _interval(what, seed)]
        held_out = all(t[f"{what}_held_out"].all() for t in tables for what in ("old", "new"))
        rows.append(
            [
                phi,
                *shares,
                *parts,
                math.nan,
                len(tables),
                alone.count(i),
                "yes" if held_out else "no",
                "no",
            ]
        )
    out = pd.DataFrame(rows, columns=CHOICE)
    out["allowed"] = allowed(0.0, out["forgetting"].iloc[-1])
    best = _best(out["gain"].to_numpy(), out["forgetting"].to_numpy())
    out.loc[best, "recommended"] = "yes"
    return out


def _changes(table: pd.DataFrame, what: str) -> np.ndarray:
    """How much larger each loss is than the base's, %."""
    loss = table[f"{what}_loss"].to_numpy()
    return np.asarray(100 * (loss / loss[0] - 1))


def _best(gain: np.ndarray, forgetting: np.ndarray) -> int:
    """Row of the recommended phi: that of the base, the first, is none."""
    tried = [{"old_loss": f, "new_loss": -g} for g, f in zip(gain[1:], forgetting[1:], strict=True)]
    return 1 + chosen(tried, 0.0, tried[-1]["old_loss"])


def _interval(values: Sequence[float], seed: int) -> Interval:
    """Mean over seeds with its interval, with the same resampled seeds for all phi."""
    if np.isnan(values).any():
        return Interval(math.nan, math.nan, math.nan)
    nest = [[[np.array([[value]])]] for value in values]
    return interval(nest, lambda means: np.asarray(means[..., 0]), numpy_generator(seed, "phi"))
