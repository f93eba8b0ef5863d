"""The paper's findings as claims about one number each, whose claimed side of zero is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from ..config import roles
from ..config.paths import RunFiles
from ..config.sections import Config, ConfigError, NetworkEntry
from ..config.studies import read_studies
from ..networks.score_table import read_dropped
from .adaptation_paths import forgetting_at_equal_gain, read_path
from .bootstrap import Floats, Seed
from .claim import POINTS, Claim, both_roles, no_note, pair, ratio
from .effects import (
    KEPT_PERCENT,
    PAR_BIAS_POINTS,
    PAR_COV_POINTS,
    VISIBLE_PERCENT,
    beyond_half,
    beyond_visible,
    change,
    difference_of_forgetting,
    difference_of_size,
    first,
    growth_beyond_kept,
    less,
)
from .inputs import adapted_networks
from .results import INPUT, PAPER_ONLINE, PAPER_TABLE1, Results
from .seed_runs import Missing, SeedRun
from .timing import PAPER_HOURS, PAPER_TRAINING_HOURS, saved, times

V1_NET = "v1-net"
V2_NET = "v2-net"
FT_NET = "FT-net"
TGD_NET = "TGD-net"
OF_BASE = f"% of {V1_NET}'s"
HARMLESS_PHI = 0.4  # the paper: "when phi > 0.4, some severe artifacts begin to occur"
PAPER_DROPPED = {0.3: 51.4, 0.4: 51.6, 0.5: 53.0, 0.6: 67.3}  # % of the parameters
BASES_OF_ONLINE = {"TGD-N2N": "v2-net", "TGD2-N2N": "TGD-net"}
# The paper compares with fine-tuning alone; the other comparisons are this project's.
FORGETTING = "forgetting"
UNSEEN_ORGANS = (
    (roles.BLADDER, "bladder", "bladder_error"),
    (roles.CATHETER, "catheter", "catheter_error"),
)


def claims(config: Config) -> list[Claim]:
    """All claims that a run of this configuration is judged by, in the findings' order."""
    base_of_online = {}

    for network in PAPER_ONLINE:
        entry = config.networks.get(network)
        base_of_online[network] = getattr(entry, "base", None) or BASES_OF_ONLINE[network]

    return [
        *_smoothing(),
        *_adapted(),
        *_speckle(),
        *_dropped(config),
        *_unseen(base_of_online),
        *_forgetting(config.networks),
        *_equal_gain(config),
        *_time(),
    ]


def _paper_difference(column: int, network: str, other: str) -> float:
    """The difference of two networks in the paper's Table 1.

    Column 0: of the size of the lesion bias; 1: of the liver CoV.
    """
    size = abs(PAPER_TABLE1[network][column])
    other_size = abs(PAPER_TABLE1[other][column])
    return round(size - other_size, 2)


def _smoothing() -> Iterator[Claim]:
    """Finding 1: v1-net over-smooths v2 images."""
    role = roles.LESION

    text = "v1-net over-smooths v2 images: its liver CoV is lower than v2-net's"
    cov = pair(1, text, "liver CoV", -1, role, "liver_cov", V1_NET, V2_NET)
    yield replace(cov, paper=_paper_difference(1, V1_NET, V2_NET))

    # Both biases are negative, so that the larger one is the lower one.
    text = "v1-net over-smooths v2 images: its lesion bias is more negative than v2-net's"
    bias = pair(1, text, "lesion bias", -1, role, "lesion_bias", V1_NET, V2_NET)
    yield replace(bias, paper=-_paper_difference(0, V1_NET, V2_NET))


def _adapted() -> Iterator[Claim]:
    """Finding 2: TGD-net's lesion bias and liver noise in the low-BMI study.

    The abstract's "on par with training-from-scratch" first, then the stricter rows of Table 1.
    """
    role = roles.LESION

    text = f"TGD-net is on par with v2-net: at most {PAR_BIAS_POINTS:g} points more lesion bias"
    bias = pair(2, text, "size of lesion bias", -1, role, "lesion_bias", TGD_NET, V2_NET)
    paper = _paper_difference(0, TGD_NET, V2_NET)
    yield _less(replace(bias, statistic=difference_of_size, paper=paper), PAR_BIAS_POINTS)

    text = f"TGD-net is on par with v2-net: a liver CoV at most {PAR_COV_POINTS:g} point higher"
    cov = pair(2, text, "liver CoV", -1, role, "liver_cov", TGD_NET, V2_NET)
    paper = _paper_difference(1, TGD_NET, V2_NET)
    yield _less(replace(cov, paper=paper), PAR_COV_POINTS)

    text = "TGD-net has no more lesion bias than v2-net"
    bias = pair(2, text, "size of lesion bias", -1, role, "lesion_bias", TGD_NET, V2_NET)
    paper = _paper_difference(0, TGD_NET, V2_NET)
    yield replace(bias, statistic=difference_of_size, paper=paper)

    for other in (V2_NET, FT_NET):
        text = f"TGD-net has a lower liver CoV than {other}"
        cov = pair(2, text, "liver CoV", -1, role, "liver_cov", TGD_NET, other)
        yield replace(cov, paper=_paper_difference(1, TGD_NET, other))


def _less(claim: Claim, points: float) -> Claim:
    """The claim with a margin: its effect less what still counts as on par, percentage points."""
    unit = "point" if points == 1 else "points"
    return replace(
        claim,
        measure=f"{claim.measure}, less {points:g} {unit}",
        statistic=less(claim.statistic, points),
        paper=round(claim.paper - points, 2),
    )


def _speckle() -> Iterator[Claim]:
    """Finding 3: what FT-net and TGD-net leave of the speckle in the high-BMI liver."""
    role = roles.HIGH_BMI
    cov = "liver_cov_spatial"

    text = "FT-net keeps speckle in the high-BMI liver: its CoV is above v2-net's"
    yield pair(3, text, "high-BMI liver CoV", 1, role, cov, FT_NET, V2_NET)

    # What v1-net knew of high-BMI patients is kept on the images of either protocol.
    for protocol in ("v2", "v1"):
        where = "" if protocol == "v2" else f" on {protocol} images"

        text = f"TGD-net keeps less speckle than FT-net in the high-BMI liver{where}"
        quantity = f"high-BMI liver CoV{where}"
        yield pair(3, text, quantity, -1, role, cov, TGD_NET, FT_NET, protocol)

        text = f"TGD-net errs less than FT-net in the high-BMI liver{where}"
        quantity = f"high-BMI liver RMSE{where}"
        error = pair(3, text, quantity, -1, role, "liver_rmse", TGD_NET, FT_NET, protocol)
        yield ratio(error, change)


def _dropped(config: Config) -> Iterator[Claim]:
    """Finding 4: kernels of a low score change nothing, and hold half of the parameters."""
    name = config.score.network

    for phi in config.score.drop_phi:
        side = -1 if phi <= HARMLESS_PHI else 1
        effect = "changes nothing visible" if side < 0 else "changes the image visibly"
        yield Claim(
            finding=4,
            claim=f"Dropping the kernels of {name} below phi = {phi:g} {effect}",
            measure=f"change at phi = {phi:g}, less the visible {VISIBLE_PERCENT:g} %",
            unit="%",
            side=side,
            values=_drop_values(phi),
            statistic=beyond_visible,
            note=_dropped_note(phi),
        )

    for phi in sorted(config.score.drop_phi)[:1]:
        yield Claim(
            finding=4,
            claim=f"Half of the parameters of {name} or more lie in kernels below phi = {phi:g}",
            measure=f"parameters below phi = {phi:g}, less one half",
            unit=POINTS,
            side=1,
            values=_drop_values(phi),
            statistic=beyond_half,
            paper=round(PAPER_DROPPED.get(phi, math.nan) - 50, 1),
        )


def _dropped_note(phi: float) -> Callable[[Floats], str]:
    paper = f" (paper: {PAPER_DROPPED[phi]:g} %)" if phi in PAPER_DROPPED else ""
    return lambda means: (
        f"drops {means[1]:.1f} % of the kernels and {means[2]:.1f} % of the parameters{paper}"
    )


def _drop_values(phi: float) -> Callable[[SeedRun], Seed]:
    """Change of the image, kernels and parameters dropped at a threshold, in %, as one row."""

    def values(run: SeedRun) -> Seed:
        path = run.root / "kse" / "drop.csv"

        if not path.exists():
            raise Missing("kse/drop.csv was not made")

        table = read_dropped(path)
        rows = table[np.isclose(table["phi"], phi)]

        if len(rows) != 1:
            raise Missing(f"kse/drop.csv has {len(rows)} rows of phi = {phi:g}")

        row = rows.iloc[0]
        kernels = row["kernels_dropped"] / row["kernels_total"]
        parameters = row["parameters_dropped"] / row["parameters_total"]
        shares = np.array([[row["relative_change"], kernels, parameters]], np.float64)
        return [[100 * shares]]

    return values


def _unseen(base_of_online: Mapping[str, str]) -> Iterator[Claim]:
    """Finding 5: networks distort organs unlike any in training; online learning mends it."""
    for role, organ, measure in UNSEEN_ORGANS:
        error = f"{organ} error"

        for network in dict.fromkeys(base_of_online.values()):
            text = (
                f"{network} distorts an unseen {organ}: its error there is above the noisy input's"
            )
            yield pair(5, text, error, 1, role, measure, network, INPUT)

        for network, base in base_of_online.items():
            text = f"{network}, learned on the study itself, distorts the {organ} less than {base}"
            yield pair(5, text, error, -1, role, measure, network, base)

        for network, base in base_of_online.items():
            text = f"{network} keeps the liver CoV of {base} in the {organ} study"
            cov = f"{organ}-study liver CoV"
            claim = pair(5, text, cov, -1, role, "liver_cov_spatial", network, base)
            yield ratio(claim, growth_beyond_kept, f", less {KEPT_PERCENT:g} %")


def _forgetting(networks: Mapping[str, NetworkEntry]) -> Iterator[Claim]:
    """Finding 6: TGD-net forgets less than the others and gains no less than fine-tuning."""
    baselines = []

    for name, entry in networks.items():
        if entry.data == "adapt" and name not in (FT_NET, TGD_NET):
            baselines.append(name)

    for other in (FT_NET, *baselines):
        replays = other in networks and networks[other].replay > 0
        yield Claim(
            finding=6,
            claim=f"TGD-net forgets less than {other} on v1 images",
            measure=f"error on v1 images, {TGD_NET} minus {other}",
            unit=OF_BASE,
            side=-1,
            values=both_roles("v1", TGD_NET, other, V1_NET),
            statistic=difference_of_forgetting,
            note=_replay_note if replays else no_note,
            family=FORGETTING,
        )

    yield Claim(
        finding=6,
        claim=f"TGD-net gains no less than {FT_NET} on v2 images",
        measure=f"error on v2 images, {TGD_NET} minus {FT_NET}",
        unit=OF_BASE,
        side=-1,
        values=both_roles("v2", TGD_NET, FT_NET, V1_NET),
        statistic=difference_of_forgetting,
    )


def _equal_gain(config: Config) -> Iterator[Claim]:
    """Finding 6, where a method that gains less cannot win by that alone."""
    if not {TGD_NET, FT_NET} <= set(adapted_networks(config)):
        return

    yield Claim(
        finding=6,
        claim=f"TGD-net forgets less than {FT_NET} at equal gain",
        measure=f"loss on v1 patches at equal gain, {TGD_NET} minus {FT_NET}",
        unit=OF_BASE,
        side=-1,
        values=_on_the_way,
        note=lambda means: f"at a gain of {means[2]:.1f} %",
    )


def _on_the_way(run: SeedRun) -> Seed:
    """Forgetting of TGD-net and FT-net at equal gain, and that gain, % as one row."""
    files = RunFiles(run.root, run.config, ())
    try:
        ways = [read_path(files, network) for network in (TGD_NET, FT_NET)]
    except (OSError, ValueError) as error:
        raise Missing(f"the way of an adaptation is not known: {error}") from error

    return [[np.array([forgetting_at_equal_gain(*ways)])]]


def _replay_note(means: Floats) -> str:
    return "the other one trains on old data too"


def _time() -> Iterator[Claim]:
    """Finding 7: TGD takes less time than a network from scratch."""
    for step, jobs, hours in (
        (None, "reconstruction and training", PAPER_HOURS),
        ("training", "training alone", PAPER_TRAINING_HOURS),
    ):
        yield Claim(
            finding=7,
            claim=f"TGD takes less time than a network from scratch: {jobs}",
            measure=f"time saved, {jobs}",
            unit="%",
            side=1,
            values=_time_saved(step),
            statistic=first,
            paper=round(100 * (1 - hours["TGD"] / hours["from scratch"]), 1),
        )


def _time_saved(step: str | None) -> Callable[[SeedRun], Seed]:
    """The time saved in one step or in all, %; Missing where a benchmark file is missing."""

    def values(run: SeedRun) -> Seed:
        table = _times(run)
        measured = table[table.source == "measured"]

        if step is not None:
            measured = measured[measured.step == step]

        if (measured.files < measured.expected).any():
            n_missing = (measured.expected - measured.files).sum()
            raise Missing(f"{n_missing} of {measured.expected.sum()} benchmark files are missing")

        return [[np.array([[saved(table, "measured", step)]])]]

    return values


def _times(run: SeedRun) -> pd.DataFrame:
    """`timing.times` of a run."""
    try:
        studies = read_studies(run.config.studies)
    except ConfigError as error:
        raise Missing(f"the table of studies is not there: {error}") from error

    return times(Results(run.root, run.config, studies))
