"""A claim about one number, whose claimed side of zero is known, and the usual ways to make one.

Columns of a claim's values are the networks of a comparison; `statistic` turns their means into the
effect.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..config import roles
from .bootstrap import Floats, Seed, Statistic
from .effects import difference
from .seed_runs import SeedRun

POINTS = "percentage points"


def no_note(means: Floats) -> str:
    """Nothing to add to a row."""
    return ""


@dataclass(frozen=True)
class Claim:
    """One row: claimed is an effect above (`side` +1) or below (-1) zero.

    `paper` is the paper's effect or nan. `values` takes them from a run, or raises Missing; `note`
    turns the columns' means over all runs into a remark. Claims of one `family` are corrected for
    their number.
    """

    finding: int
    claim: str
    measure: str
    unit: str
    side: int
    values: Callable[[SeedRun], Seed]
    statistic: Statistic = difference
    paper: float = math.nan
    note: Callable[[Floats], str] = no_note
    family: str = ""


def both_roles(protocol: str, *networks: str) -> Callable[[SeedRun], Seed]:
    """RMSE of the networks in the low- and the high-BMI studies, which count alike."""
    cells = [(network, protocol, "rmse") for network in networks]
    return lambda run: [run.columns(role, *cells) for role in roles.BOTH_PROTOCOLS]


def pair(
    finding: int,
    claim: str,
    quantity: str,
    side: int,
    role: str,
    measure: str,
    network: str,
    other: str,
    protocol: str = "v2",
) -> Claim:
    """A claim on the difference of two networks on a protocol's images, in the measure's unit."""
    cells = [(name, protocol, measure) for name in (network, other)]
    return Claim(
        finding=finding,
        claim=claim,
        measure=f"{quantity}, {network} minus {other}",
        unit=POINTS,
        side=side,
        values=lambda run: [run.columns(role, *cells)],
    )


def ratio(claim: Claim, statistic: Statistic, less: str = "") -> Claim:
    """The same claim on the ratio of the two, in %."""
    measure = claim.measure.replace(" minus ", " over ") + less
    return replace(
        claim,
        measure=measure,
        unit="%",
        statistic=statistic,
    )
