"""A finished study kept as the reference that later runs are compared with (results/reference).

Two independent estimates a and b of one quantity, with standard errors s and t, differ when |a - b|
is larger than Student's quantile times sqrt(s^2 + t^2): the reference's interval, widened by what
the new run does not know itself. Over all rows the quantile is Holm's (Scand. J. Statist. 6, 1979),
so that a right run passes in 95 % of cases, however many rows there are.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from . import estimates, findings
from .bootstrap import CONFIDENCE

FILES = {"findings": "metrics/findings.csv", "estimates": "metrics/estimates.csv"}
KEYS = {"findings": ["finding", "measure"], "estimates": ["network", "measure"]}
VALUES = {"findings": "effect", "estimates": "value"}
TIME = 7  # the finding that depends on the machine
COLUMNS = ["what", "new", "reference", "difference", "allowed", "verdict"]
BAD = ("differs", "missing")

Floats = npt.NDArray[np.floating]


def read(root: Path) -> pd.DataFrame:
    """What a results or reference folder found: columns what, value, se, n (repetitions), seeds,
    judged.

    `se` comes from the 95 % interval and Student's quantile for n repetitions; nan without an
    interval. n: seeds, or in a single seed the images of a study. Raises FileNotFoundError or
    ValueError that names the file.
    """
    parts = []
    for name, file in FILES.items():
        path = root / file
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file; a finished run or study has it")
        table = findings.read(path) if name == "findings" else estimates.read(path)
        doubled = table.duplicated(KEYS[name])
        if doubled.any():
            raise ValueError(
                f"{path}: row {int(doubled.to_numpy().argmax()) + 2} repeats another one's {KEYS[name]}"
            )
        studies = table["studies"] if name == "findings" else table["seeds"]
        images = table["realisations"] if name == "findings" else table["images"]
        n = np.where(table["seeds"] > 1, table["seeds"], images // studies.clip(lower=1)).astype(
            float
        )
        half = (table["high"] - table["low"]).to_numpy(float) / 2
        part = pd.DataFrame(
            {
                "value": table[VALUES[name]].to_numpy(float),
                "n": n,
                "seeds": table["seeds"].to_numpy(),
            }
        )
        part.insert(
            0,
            "what",
            [": ".join(map(str, row)) for row in table[KEYS[name]].itertuples(index=False)],
        )
        part["se"] = standard_error(half, n)
        part["judged"] = table["finding"].to_numpy() != TIME if name == "findings" else True
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def standard_error(half: Floats, n: Floats) -> Floats:
    """Of estimates whose 95 % interval has these half widths and rests on `n` values; nan for n <
    2.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(
            np.where(n > 1, half / stats.t.ppf((1 + CONFIDENCE) / 2, np.maximum(n - 1, 1)), np.nan)
        )


def compare(new: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """The reference's rows with a verdict each (COLUMNS): OK, differs, missing, or why it is not
    compared.

    Both tables are `read`'s. A single seed's interval knows nothing of other seeds: against a
    reference of several its standard error is at least their spread, and the other way round.
    """
    both = reference.merge(new, on="what", how="left", suffixes=("_ref", "_new"), indicator=True)
    there = (both["_merge"] == "both").to_numpy()
    errors, freedom, borrowed = {}, {}, np.full(len(both), np.nan)
    for own, other in (("new", "ref"), ("ref", "new")):
        se, n = both[f"se_{own}"].to_numpy(float), both[f"n_{own}"].to_numpy(float)
        spread = both[f"se_{other}"].to_numpy(float) * np.sqrt(
            both[f"seeds_{other}"].to_numpy(float)
        )
        lone = (both[f"seeds_{own}"].to_numpy() == 1) & (both[f"seeds_{other}"].to_numpy() > 1)
        errors[own] = np.where(lone, np.fmax(se, spread), se)
        freedom[own] = n - 1
        borrowed = np.where(lone, both[f"n_{other}"].to_numpy(float) - 1, borrowed)
    total = np.hypot(errors["new"], errors["ref"])
    with np.errstate(invalid="ignore", divide="ignore"):
        # Welch and Satterthwaite; where both errors come from one spread, it has that one's degrees
        # of freedom.
        df = total**4 / sum(errors[k] ** 4 / np.maximum(freedom[k], 1) for k in errors)
        df = np.where(np.isnan(borrowed), df, borrowed)
        difference = both["value_new"].to_numpy(float) - both["value_ref"].to_numpy(float)
        p = 2 * stats.t.sf(np.abs(difference) / total, df)
        p = np.where(
            total == 0, (difference == 0).astype(float), p
        )  # exactly known, or the same run
    tested = there & both["judged_ref"].to_numpy(bool) & np.isfinite(total)
    limit, differs = holm(p[tested])
    allowed = np.full(len(both), np.nan)
    allowed[tested] = np.where(
        total[tested] == 0, 0.0, stats.t.isf(limit / 2, df[tested]) * total[tested]
    )
    verdict = np.where(there, "OK", "missing").astype(object)
    verdict[there & ~np.isfinite(total)] = "no interval"
    verdict[there & ~both["judged_ref"].to_numpy(bool)] = "machine's"
    verdict[np.flatnonzero(tested)[differs]] = "differs"
    table = {"what": both["what"], "new": both["value_new"], "reference": both["value_ref"]}
    return pd.DataFrame(
        {**table, "difference": difference, "allowed": allowed, "verdict": verdict}
    )[COLUMNS]


def holm(p: Floats, share: float = 1 - CONFIDENCE) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Holm's step-down procedure: the p-value (n,) below which each row is rejected, and whether it
    is.
    """
    n = len(p)
    order = np.argsort(p, kind="stable")
    rejected = np.zeros(n, bool)
    limits = np.full(n, share / max(n, 1))
    for rank, row in enumerate(order):
        step = share / (n - rank)
        limits[order[rank:]] = step
        if p[row] > step:
            break
        rejected[row] = True
    return limits, rejected


def text(rows: pd.DataFrame, new: pd.DataFrame, reference: pd.DataFrame) -> str:
    """The comparison in words, a line a row, and what it amounts to."""
    width = int(rows["what"].str.len().max())
    lines = [f"{'':{width}}{'new':>11}{'reference':>11}{'difference':>12}{'allowed':>10}  verdict"]
    for what, *numbers, verdict in rows[COLUMNS].itertuples(index=False):
        cells = [_cell(v) for v in numbers]
        lines.append(
            f"{what:{width}}{cells[0]:>11}{cells[1]:>11}{cells[2]:>12}{cells[3]:>10}  {verdict}"
        )
    more = sorted(set(new["what"]) - set(reference["what"]))
    lines += [f"{what}: not in the reference" for what in more]
    counts = rows["verdict"].value_counts()
    lines.append("; ".join(f"{counts[word]} {word}" for word in counts.index))
    lines.append(
        "allowed: Student's interval for the difference, by Holm over all rows compared (95 % of right runs pass)"
    )
    if max(new["seeds"].max(), reference["seeds"].max()) == 1:
        lines.append(
            "one seed in both: intervals cover noise only, so that other trainings may differ by more"
        )
    if counts.get("OK", 0) + counts.get("differs", 0) == 0:
        lines.append("nothing could be compared: no row has an interval in both")
    return "\n".join(lines)


def passed(rows: pd.DataFrame) -> bool:
    """Whether nothing differs or is missing, and anything was compared at all."""
    return not rows["verdict"].isin(BAD).any() and bool((rows["verdict"] == "OK").any())


def _cell(value: Any) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.4g}"
