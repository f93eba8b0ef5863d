"""The paper's findings as claims about one number each, whose claimed side of zero is known.

Columns of a claim's values are the networks of a comparison; `statistic` turns their means into the
effect.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..config import roles
from ..config.sections import Config, ConfigError, NetworkEntry
from ..config.studies import read_studies
from .bootstrap import Floats, Seed, Statistic
from .results import INPUT, PAPER_ONLINE, PAPER_TABLE1, Results
from .seed_runs import Missing, SeedRun, read_table
from .timing import PAPER_HOURS, PAPER_TRAINING_HOURS, saved, times

V1_NET, V2_NET, FT_NET, TGD_NET = "v1-net", "v2-net", "FT-net", "TGD-net"
POINTS = "percentage points"
OF_BASE = f"% of {V1_NET}'s"
# A change of this share of the mean is seen or not: people just see contrasts of 1 to 2 % in large
# areas (Weber).
VISIBLE_PERCENT = 2.0
# Online learning keeps the noise level when it raises the liver CoV by no more than a tenth.
KEPT_PERCENT = 10.0
HARMLESS_PHI = 0.4  # the paper: "when phi > 0.4, some severe artifacts begin to occur"
PAPER_DROPPED = {0.3: 51.4, 0.4: 51.6, 0.5: 53.0, 0.6: 67.3}  # % of the parameters
DROP_COLUMNS = (
    "phi",
    "kernels_dropped",
    "kernels_total",
    "parameters_dropped",
    "parameters_total",
    "relative_change",
)
BASES_OF_ONLINE = {"TGD-N2N": "v2-net", "TGD2-N2N": "TGD-net"}
UNSEEN_ORGANS = (
    (roles.BLADDER, "bladder", "bladder_error"),
    (roles.CATHETER, "catheter", "catheter_error"),
)


def difference(means: Floats) -> Floats:
    """First minus second."""
    return np.asarray(means[..., 0] - means[..., 1])


def less_bias(means: Floats) -> Floats:
    """Size of the first less that of the second."""
    return np.asarray(np.abs(means[..., 0]) - np.abs(means[..., 1]))


def change(means: Floats) -> Floats:
    """How much larger the first is than the second, %."""
    return np.asarray(100 * (means[..., 0] / means[..., 1] - 1))


def kept(means: Floats) -> Floats:
    """The same, less the growth that counts as keeping, %."""
    return np.asarray(change(means) - KEPT_PERCENT)


def relative_difference(means: Floats) -> Floats:
    """First minus second in % of the third: how much more the first forgot, all compared with one
    base.
    """
    return np.asarray(100 * (means[..., 0] - means[..., 1]) / means[..., 2])


def visible(means: Floats) -> Floats:
    """The first, less what people just see, %."""
    return np.asarray(means[..., 0] - VISIBLE_PERCENT)


def half(means: Floats) -> Floats:
    """The third less one half, in points."""
    return np.asarray(means[..., 2] - 50)


def first(means: Floats) -> Floats:
    """The first column as it is."""
    return np.asarray(means[..., 0])


def nothing(means: Floats) -> str:
    """No words on the means."""
    return ""


@dataclass(frozen=True)
class Claim:
    """One row: claimed is an effect above (`side` +1) or below (-1) zero; `paper` is the paper's
    effect or nan.

    `values` takes them from a run, or raises Missing; `words` turns the columns' means over all
    runs into a note.
    """

    finding: int
    claim: str
    measure: str
    unit: str
    side: int
    values: Callable[[SeedRun], Seed]
    statistic: Statistic = difference
    paper: float = math.nan
    words: Callable[[Floats], str] = nothing


def claims(config: Config) -> list[Claim]:
    """All claims that a run of this configuration is judged by, in the findings' order."""
    online = {
        n: getattr(config.networks.get(n), "base", None) or BASES_OF_ONLINE[n] for n in PAPER_ONLINE
    }
    paper = (*_smoothing(), *_adapted(), *_speckle(), *_dropped(config), *_unseen(online))
    return [*paper, *_forgetting(config.networks), *_time()]


def both_roles(protocol: str, *networks: str) -> Callable[[SeedRun], Seed]:
    """RMSE of the networks in the low- and the high-BMI studies, which count alike."""
    cells = [(network, protocol, "rmse") for network in networks]
    return lambda run: [run.columns(role, *cells) for role in roles.BOTH_PROTOCOLS]


def _pair(
    finding: int,
    claim: str,
    what: str,
    side: int,
    role: str,
    measure: str,
    network: str,
    other: str,
) -> Claim:
    """A claim on the difference of two networks on v2 images, in the measure's unit (%)."""
    cells = [(name, "v2", measure) for name in (network, other)]
    return Claim(
        finding,
        claim,
        f"{what}, {network} minus {other}",
        POINTS,
        side,
        lambda run: [run.columns(role, *cells)],
    )


def _ratio(claim: Claim, statistic: Statistic, less: str = "") -> Claim:
    """The same claim on the ratio of the two, in %."""
    return replace(
        claim,
        measure=claim.measure.replace(" minus ", " over ") + less,
        unit="%",
        statistic=statistic,
    )


def _paper(column: int, network: str, other: str) -> float:
    """The difference of two networks in the paper's Table 1 (0: size of the lesion bias; 1: liver
    CoV).
    """
    return round(abs(PAPER_TABLE1[network][column]) - abs(PAPER_TABLE1[other][column]), 2)


def _smoothing() -> Iterator[Claim]:
    for measure, what, text, sign in (
        ("liver_cov", "liver CoV", "its liver CoV is lower than v2-net's", 1),
        ("lesion_bias", "lesion bias", "its lesion bias is more negative than v2-net's", -1),
    ):
        text = f"v1-net over-smooths v2 images: {text}"
        claim = _pair(1, text, what, -1, roles.LESION, measure, V1_NET, V2_NET)
        yield replace(claim, paper=sign * _paper(int(sign > 0), V1_NET, V2_NET))


def _adapted() -> Iterator[Claim]:
    text = "TGD-net has no more lesion bias than v2-net"
    claim = _pair(2, text, "size of lesion bias", -1, roles.LESION, "lesion_bias", TGD_NET, V2_NET)
    yield replace(claim, statistic=less_bias, paper=_paper(0, TGD_NET, V2_NET))
    for other in (V2_NET, FT_NET):
        text = f"TGD-net has a lower liver CoV than {other}"
        claim = _pair(2, text, "liver CoV", -1, roles.LESION, "liver_cov", TGD_NET, other)
        yield replace(claim, paper=_paper(1, TGD_NET, other))


def _speckle() -> Iterator[Claim]:
    role, cov = roles.HIGH_BMI, "liver_cov_spatial"
    text = "FT-net keeps speckle in the high-BMI liver: its CoV is above v2-net's"
    yield _pair(3, text, "high-BMI liver CoV", 1, role, cov, FT_NET, V2_NET)
    text = "TGD-net keeps less speckle than FT-net in the high-BMI liver: its CoV is lower"
    yield _pair(3, text, "high-BMI liver CoV", -1, role, cov, TGD_NET, FT_NET)
    text = "TGD-net errs less than FT-net in the high-BMI liver"
    yield _ratio(
        _pair(3, text, "high-BMI liver RMSE", -1, role, "liver_rmse", TGD_NET, FT_NET), change
    )


def _dropped(config: Config) -> Iterator[Claim]:
    name = config.score.network
    for phi in config.score.drop_phi:
        side = -1 if phi <= HARMLESS_PHI else 1
        what = "changes nothing visible" if side < 0 else "changes the image visibly"
        text = f"Dropping the kernels of {name} below phi = {phi:g} {what}"
        measure = f"change at phi = {phi:g}, less the visible {VISIBLE_PERCENT:g} %"
        yield Claim(4, text, measure, "%", side, _drop_values(phi), visible, words=_shares(phi))
    for phi in sorted(config.score.drop_phi)[:1]:
        text = f"Half of the parameters of {name} or more lie in kernels below phi = {phi:g}"
        paper = round(PAPER_DROPPED.get(phi, math.nan) - 50, 1)
        measure = f"parameters below phi = {phi:g}, less one half"
        yield Claim(4, text, measure, POINTS, 1, _drop_values(phi), half, paper)


def _shares(phi: float) -> Callable[[Floats], str]:
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
        table = read_table(path, DROP_COLUMNS)
        at = table[np.isclose(table["phi"], phi)]
        if len(at) != 1:
            raise Missing(f"kse/drop.csv has {len(at)} rows of phi = {phi:g}")
        row = at.iloc[0]
        shares = [
            row[f"{what}_dropped"] / row[f"{what}_total"] for what in ("kernels", "parameters")
        ]
        return [[100 * np.array([[row["relative_change"], *shares]], np.float64)]]

    return values


def _unseen(online: Mapping[str, str]) -> Iterator[Claim]:
    for role, organ, error in UNSEEN_ORGANS:
        what = f"{organ} error"
        for network in dict.fromkeys(online.values()):
            text = (
                f"{network} distorts an unseen {organ}: its error there is above the noisy input's"
            )
            yield _pair(5, text, what, 1, role, error, network, INPUT)
        for network, base in online.items():
            text = f"{network}, learned on the study itself, distorts the {organ} less than {base}"
            yield _pair(5, text, what, -1, role, error, network, base)
        for network, base in online.items():
            text = f"{network} keeps the liver CoV of {base} in the {organ} study"
            claim = _pair(
                5, text, f"{organ}-study liver CoV", -1, role, "liver_cov_spatial", network, base
            )
            yield _ratio(claim, kept, f", less {KEPT_PERCENT:g} %")


def _forgetting(networks: Mapping[str, NetworkEntry]) -> Iterator[Claim]:
    others = [n for n, e in networks.items() if e.data == "adapt" and n not in (FT_NET, TGD_NET)]
    for other in (FT_NET, *others):
        values = both_roles("v1", TGD_NET, other, V1_NET)
        text = f"TGD-net forgets less than {other} on v1 images"
        old_data = other in networks and networks[other].replay > 0
        words = _replays if old_data else nothing
        measure = f"error on v1 images, {TGD_NET} minus {other}"
        yield Claim(6, text, measure, OF_BASE, -1, values, relative_difference, words=words)
    text = f"TGD-net gains no less than {FT_NET} on v2 images"
    values = both_roles("v2", TGD_NET, FT_NET, V1_NET)
    measure = f"error on v2 images, {TGD_NET} minus {FT_NET}"
    yield Claim(6, text, measure, OF_BASE, -1, values, relative_difference)


def _replays(means: Floats) -> str:
    return "the other one trains on old data too"


def _time() -> Iterator[Claim]:
    for step, what, hours in (
        (None, "reconstruction and training", PAPER_HOURS),
        ("training", "training alone", PAPER_TRAINING_HOURS),
    ):
        paper = round(100 * (1 - hours["TGD"] / hours["from scratch"]), 1)
        text = f"TGD takes less time than a network from scratch: {what}"
        yield Claim(7, text, f"time saved, {what}", "%", 1, _saved(step), first, paper)


def _saved(step: str | None) -> Callable[[SeedRun], Seed]:
    def values(run: SeedRun) -> Seed:
        try:
            table = times(Results(run.root, run.config, read_studies(run.config.studies)))
        except ConfigError as error:
            raise Missing(f"the table of studies is not there: {error}") from error
        ours = table[(table.source == "measured") & ((table.step == step) if step else True)]
        if (ours.files < ours.expected).any():
            raise Missing(
                f"{(ours.expected - ours.files).sum()} of {ours.expected.sum()} benchmark files are missing"
            )
        return [[np.array([[saved(table, "measured", step)]])]]

    return values
