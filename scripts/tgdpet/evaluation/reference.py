"""A finished study kept as the reference that later runs are compared with (results/reference).

Two independent estimates a and b of one quantity, with standard errors s and t, differ when |a - b|
is larger than Student's quantile times sqrt(s^2 + t^2): the reference's interval, widened by what
the new run does not know itself. Over all rows the quantile is Holm's (Scand. J. Statist. 6, 1979),
so that a right run passes in 95 % of cases, however many rows there are.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from .bootstrap import CONFIDENCE, Floats, holm
from .estimates import read_estimates
from .findings import read_findings
from .seed_runs import check_unique

FILES = {"findings": "metrics/findings.csv", "estimates": "metrics/estimates.csv"}
TIME_FINDING = 7  # depends on the machine
COMPARISON_COLUMNS = ["quantity", "new", "reference", "difference", "allowed", "verdict"]
FAILURES = ("differs", "missing")


class Errors(NamedTuple):
    """Standard errors (N,) of one side of a comparison, and the degrees of freedom that they have.

    `borrowed` (N,): where a single seed's error is the other side's spread over seeds.
    """

    se: Floats
    freedom: Floats
    borrowed: npt.NDArray[np.bool_]


def read_reference(root: Path) -> pd.DataFrame:
    """What a results or reference folder found: columns quantity, value, se, n, seeds, judged.

    `n`: repetitions that `se` rests on, that is seeds, or in a single seed the images of a study.
    `se` comes from the interval, its confidence and Student's quantile for n repetitions; nan
    without an interval. `judged`: whether another machine has to find the same. Raises
    FileNotFoundError or ValueError that names the file.
    """
    for file in FILES.values():
        if not (root / file).exists():
            raise FileNotFoundError(f"{root / file}: no such file; a finished run or study has it")

    findings_path = root / FILES["findings"]
    findings = read_findings(findings_path)
    check_unique(findings, ["finding", "measure"], findings_path)

    estimates_path = root / FILES["estimates"]
    estimates = read_estimates(estimates_path)
    check_unique(estimates, ["network", "measure"], estimates_path)

    findings_rows = _rows(
        quantity=findings["finding"].astype(str) + ": " + findings["measure"],
        value=findings["effect"],
        table=findings,
        images_per_study=findings["realisations"] // findings["studies"].clip(lower=1),
    )
    findings_rows["judged"] = findings["finding"].to_numpy() != TIME_FINDING

    estimates_rows = _rows(
        quantity=estimates["network"].astype(str) + ": " + estimates["measure"],
        value=estimates["value"],
        table=estimates,
        images_per_study=estimates["images"] // estimates["seeds"].clip(lower=1),
    )
    estimates_rows["judged"] = True

    return pd.concat([findings_rows, estimates_rows], ignore_index=True)


def standard_error(half_width: Floats, n: Floats, confidence: Floats | float) -> Floats:
    """Of estimates whose interval has this half width and rests on `n` values, as arrays.

    nan for n < 2.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = np.maximum(n - 1, 1)
        quantile = stats.t.ppf((1 + np.asarray(confidence)) / 2, freedom)
        se = half_width / quantile

    return np.asarray(np.where(n > 1, se, np.nan))


def compare(new: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """The reference's rows with a verdict each: OK, differs, missing, or why it is not compared.

    Columns COMPARISON_COLUMNS; both tables are `read_reference`'s. A single seed's interval knows
    nothing of other seeds: against a reference of several its standard error is at least their
    spread, and the other way round.
    """
    both = reference.merge(
        new,
        on="quantity",
        how="left",
        suffixes=("_ref", "_new"),
        indicator=True,
    )
    value = both["value_new"].to_numpy(float)
    reference_value = both["value_ref"].to_numpy(float)
    difference = value - reference_value

    new_errors = _errors(both, "new", "ref")
    reference_errors = _errors(both, "ref", "new")
    total_se = np.hypot(new_errors.se, reference_errors.se)
    freedom = _degrees_of_freedom(new_errors, reference_errors, total_se)
    p = _p_values(difference, total_se, freedom)

    # Only what is in both, has an interval and does not depend on the machine is tested.
    there = (both["_merge"] == "both").to_numpy()
    judged = both["judged_ref"].to_numpy(bool)
    has_interval = np.isfinite(total_se)
    tested = there & judged & has_interval
    limit, rejected = holm(p[tested])

    quantile = stats.t.isf(limit / 2, freedom[tested])
    allowed = np.full(len(both), np.nan)
    allowed[tested] = np.where(total_se[tested] == 0, 0.0, quantile * total_se[tested])

    verdict = np.where(there, "OK", "missing").astype(object)
    verdict[there & ~has_interval] = "no interval"
    verdict[there & ~judged] = "machine's"
    verdict[np.flatnonzero(tested)[rejected]] = "differs"

    table = {
        "quantity": both["quantity"],
        "new": both["value_new"],
        "reference": both["value_ref"],
        "difference": difference,
        "allowed": allowed,
        "verdict": verdict,
    }
    return pd.DataFrame(table, columns=COMPARISON_COLUMNS)


def comparison_text(rows: pd.DataFrame, new: pd.DataFrame, reference: pd.DataFrame) -> str:
    """The comparison for people, a line a row, and what it amounts to."""
    width = int(rows["quantity"].str.len().max())
    lines = [f"{'':{width}}{'new':>11}{'reference':>11}{'difference':>12}{'allowed':>10}  verdict"]

    for quantity, *numbers, verdict in rows[COMPARISON_COLUMNS].itertuples(index=False):
        value, kept, difference, allowed = map(_cell, numbers)
        cells = f"{value:>11}{kept:>11}{difference:>12}{allowed:>10}"
        lines.append(f"{quantity:{width}}{cells}  {verdict}")

    for quantity in sorted(set(new["quantity"]) - set(reference["quantity"])):
        lines.append(f"{quantity}: not in the reference")

    counts = rows["verdict"].value_counts()
    lines.append("; ".join(f"{counts[verdict]} {verdict}" for verdict in counts.index))
    lines.append(
        "allowed: Student's interval for the difference, by Holm over all rows compared"
        " (95 % of right runs pass)"
    )

    if max(new["seeds"].max(), reference["seeds"].max()) == 1:
        lines.append(
            "one seed in both: intervals cover noise only,"
            " so that other trainings may differ by more"
        )

    if counts.get("OK", 0) + counts.get("differs", 0) == 0:
        lines.append("nothing could be compared: no row has an interval in both")

    return "\n".join(lines)


def passed(rows: pd.DataFrame) -> bool:
    """Whether nothing differs or is missing, and anything was compared at all."""
    failed = rows["verdict"].isin(FAILURES).any()
    compared = (rows["verdict"] == "OK").any()
    return bool(compared and not failed)


def _rows(
    quantity: pd.Series, value: pd.Series, table: pd.DataFrame, images_per_study: pd.Series
) -> pd.DataFrame:
    """The rows of one table, but for `judged`."""
    seeds = table["seeds"]
    n = np.where(seeds > 1, seeds, images_per_study).astype(float)
    half_width = (table["high"] - table["low"]).to_numpy(float) / 2
    confidence = table["confidence"].to_numpy(float) if "confidence" in table else CONFIDENCE
    return pd.DataFrame(
        {
            "quantity": quantity.to_numpy(),
            "value": value.to_numpy(float),
            "n": n,
            "seeds": seeds.to_numpy(),
            "se": standard_error(half_width, n, confidence),
        }
    )


def _errors(both: pd.DataFrame, side: str, other: str) -> Errors:
    """The standard errors of one side; `side` and `other` are the suffixes of the columns."""
    se = both[f"se_{side}"].to_numpy(float)
    n = both[f"n_{side}"].to_numpy(float)
    seeds = both[f"seeds_{side}"].to_numpy()
    other_se = both[f"se_{other}"].to_numpy(float)
    other_n = both[f"n_{other}"].to_numpy(float)
    other_seeds = both[f"seeds_{other}"].to_numpy(float)

    # A single seed has at least the other side's spread over seeds, with its degrees of freedom.
    borrowed = (seeds == 1) & (other_seeds > 1)
    spread = other_se * np.sqrt(other_seeds)
    se = np.where(borrowed, np.fmax(se, spread), se)
    freedom = np.where(borrowed, other_n - 1, n - 1)
    return Errors(se, freedom, borrowed)


def _degrees_of_freedom(new: Errors, reference: Errors, total_se: Floats) -> Floats:
    """By Welch and Satterthwaite; where both errors come from one spread, that one's."""
    with np.errstate(invalid="ignore", divide="ignore"):
        new_part = new.se**4 / np.maximum(new.freedom, 1)
        reference_part = reference.se**4 / np.maximum(reference.freedom, 1)
        freedom = total_se**4 / (new_part + reference_part)

    freedom = np.where(new.borrowed, new.freedom, freedom)
    return np.where(reference.borrowed, reference.freedom, freedom)


def _p_values(difference: Floats, total_se: Floats, freedom: Floats) -> Floats:
    """Two-sided p-values (N,) of Student's test of no difference."""
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.abs(difference) / total_se
        p = 2 * stats.t.sf(t, freedom)

    # Exactly known, or the same run.
    same = (difference == 0).astype(float)
    return np.asarray(np.where(total_se == 0, same, p))


def _cell(value: Any) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.4g}"
