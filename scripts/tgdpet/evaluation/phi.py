"""phi chosen, not guessed: what each phi of a sweep gains, forgets and would drop.

One of them is recommended.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..config.sweep import CHOICE, CHOICE_KINDS, MEASURED_KINDS, PLAIN
from ..runtime.seeds import numpy_generator
from ..training.tradeoff import allowed, chosen
from .bootstrap import Floats, Interval, interval
from .changes import forgetting, gain
from .effects import first
from .seed_runs import read_table


def read_sweep(path: Path) -> pd.DataFrame:
    """Read a table MEASURED, sorted by phi.

    ValueError naming the file where it is damaged or lacks 0 or `PLAIN`.
    """
    table = read_table(path, MEASURED_KINDS).sort_values("phi", ignore_index=True)

    phis = table["phi"].tolist()
    each_once = len(set(phis)) == len(phis)

    if len(phis) < 3 or phis[0] != 0 or phis[-1] != PLAIN or not each_once:
        raise ValueError(
            f"{path}: column 'phi': expected 0, one or more above it, and inf, each once,"
            f" got {phis}"
        )

    return table


def choose(tables: Sequence[pd.DataFrame], seed: int) -> pd.DataFrame:
    """The table CHOICE of one or more runs (tables MEASURED, one a seed), with the recommended phi.

    Gain and forgetting are of the loss, means over seeds. Recommended is what `chosen`, the rule of
    the penalties' strengths, takes of all phi but 0: of those that forget at most half of what
    plain fine-tuning does, the one that gains most. `best_of_seeds` counts the seeds that alone
    would choose this phi; `seed` decides the intervals' resamples. Raises ValueError where the
    tables are of different sweeps.
    """
    phis = tables[0]["phi"]

    for table in tables[1:]:
        if table["phi"].tolist() != phis.tolist():
            raise ValueError(
                f"sweep: phi {table['phi'].tolist()} differs from {phis.tolist()}: no repetition"
            )

    gains = [_relative_to_base(gain, table["new_loss"]) for table in tables]
    forgettings = [_relative_to_base(forgetting, table["old_loss"]) for table in tables]
    best_rows = [_best_row(g, f) for g, f in zip(gains, forgettings, strict=True)]
    rows = []

    for i, phi in enumerate(phis):
        kernels = np.mean([_percent_below(table, "kernels", i) for table in tables])
        parameters = np.mean([_percent_below(table, "parameters", i) for table in tables])

        changes = [100 * table["relative_change"][i] for table in tables]
        change_interval = _interval(changes, seed)
        gain_interval = _interval([values[i] for values in gains], seed)
        forgetting_interval = _interval([values[i] for values in forgettings], seed)

        held_out = all(
            table["old_held_out"].all() and table["new_held_out"].all() for table in tables
        )
        rows.append(
            {
                "phi": phi,
                "kernels": kernels,
                "parameters": parameters,
                **_named("change", change_interval),
                **_named("gain", gain_interval),
                **_named("forgetting", forgetting_interval),
                "allowed": math.nan,
                "seeds": len(tables),
                "best_of_seeds": best_rows.count(i),
                "held_out": "yes" if held_out else "no",
                "recommended": "no",
            }
        )

    choice = pd.DataFrame(rows, columns=CHOICE)
    choice["allowed"] = allowed(0.0, choice["forgetting"].iloc[-1])
    best = _best_row(choice["gain"].to_numpy(), choice["forgetting"].to_numpy())
    choice.loc[best, "recommended"] = "yes"
    return choice


def read_choice(path: Path) -> pd.DataFrame:
    """Read a table CHOICE.

    ValueError naming the file for a missing column or value, or where no phi is recommended.
    """
    table = read_table(path, CHOICE_KINDS)
    n_recommended = (table["recommended"] == "yes").sum()

    if n_recommended != 1:
        raise ValueError(
            f"{path}: column 'recommended': expected yes once, got it {n_recommended} times"
        )

    return table


def phi_name(phi: float) -> str:
    """How a phi is written for people."""
    return "plain fine-tuning" if phi == PLAIN else f"φ = {phi:g}"


def recommendation(choice: pd.DataFrame) -> str:
    """The recommended phi of a table CHOICE, with its gain and forgetting, in a few sentences."""
    best = choice[choice.recommended == "yes"].iloc[0]
    plain = choice[choice.phi == PLAIN].iloc[0]

    sentences = [
        f"Recommended: {phi_name(best.phi)}.",
        f"It retrains {best.kernels:.0f} % of the kernels, gains {best.gain:.1f} %"
        f" and forgets {best.forgetting:.1f} %"
        f" (plain fine-tuning: {plain.gain:.1f} % and {plain.forgetting:.1f} %).",
    ]

    if best.forgetting > best.allowed:
        sentences.append("No φ forgets as little as is allowed; this one forgets least.")

    if best.seeds > 1:
        sentences.append(f"{best.best_of_seeds} of {best.seeds} seeds alone would choose it.")

    if best.held_out == "no":
        sentences.append(
            "Measured on training patches, as no study is held out of some training:"
            " a rough guide at most."
        )

    return " ".join(sentences)


def _relative_to_base(measure: Callable[[Floats, Floats], Floats], loss: pd.Series) -> Floats:
    """`gain` or `forgetting` of each row; the base is the first."""
    values = loss.to_numpy()
    return np.asarray(measure(values, values[0]))


def _percent_below(table: pd.DataFrame, counted: str, row: int) -> float:
    below = table[f"{counted}_below"][row]
    total = table[f"{counted}_total"][row]
    return float(100 * below / total)


def _named(column: str, values: Interval) -> dict[str, float]:
    return {
        column: values.effect,
        f"{column}_low": values.low,
        f"{column}_high": values.high,
    }


def _best_row(gains: Floats, forgettings: Floats) -> int:
    """Row of the recommended phi; the first row, the base's, is none."""
    tried = [
        {"old_loss": forgotten, "new_loss": -gained}
        for gained, forgotten in zip(gains[1:], forgettings[1:], strict=True)
    ]
    return 1 + chosen(tried, 0.0, tried[-1]["old_loss"])


def _interval(values: Sequence[float], seed: int) -> Interval:
    """Mean over seeds with its interval, with the same resampled seeds for all phi."""
    if np.isnan(values).any():
        return Interval(math.nan, math.nan, math.nan)

    seeds = [[[np.array([[value]])]] for value in values]
    generator = numpy_generator(seed, "phi")
    return interval(seeds, first, generator)
