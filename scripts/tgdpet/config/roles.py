"""What a study's role decides: its samples, its protocols, what is evaluated on it.

A role says what a study is for. Everything that follows from it is decided here, and nowhere else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from . import sweep
from .sections import Config, Sampling

TRAINING = "train_v1v2"
ADAPTATION = "adapt"
LESION = "test_lesion"
HIGH_BMI = "test_high_bmi"
BLADDER = "test_bladder"
CATHETER = "test_catheter"

ROLES = (TRAINING, ADAPTATION, LESION, HIGH_BMI, BLADDER, CATHETER)
TRAINED_ON = (TRAINING, ADAPTATION)
TESTS = (LESION, HIGH_BMI, BLADDER, CATHETER)
BOTH_PROTOCOLS = (LESION, HIGH_BMI)  # tested on the old task (v1 images) and on the new one (v2)
ONLINE = (BLADDER, CATHETER)  # learned on themselves, by Noise2Noise

ORGAN_UNLIKE_TRAINING = {BLADDER: "bladder", CATHETER: "catheter"}

REALISATION = re.compile(r"real\d+")
HALVES = ("half1", "half2")  # of a study that is learned on itself; no network is judged on them


@dataclass(frozen=True)
class Sample:
    """A part of a list mode: a random `share` of its events, of those part `part` of `parts`."""

    name: str
    share: float
    part: int = 0
    parts: int = 1

    @property
    def fraction(self) -> float:
        """Expected share of all events."""
        return self.share / self.parts


def samples_of(role: str, sampling: Sampling, scan_s: float) -> list[Sample]:
    """The samples a study of this role needs (names as in the image files); the whole scan is the
    last.
    """
    whole = Sample(level_name(scan_s), 1.0)

    if role in TRAINED_ON:
        levels = [Sample(level_name(s), s / scan_s) for s in sampling.levels_s if s < scan_s]
        return [*levels, whole]

    if role == LESION:
        n = sampling.realisations
        realisations = [Sample(realisation_name(i + 1), 1.0, i, n) for i in range(n)]
        return [*realisations, whole]

    if role == HIGH_BMI:
        return [Sample(level_name(sampling.test_s), sampling.test_s / scan_s), whole]

    share = sampling.online_s / scan_s
    halves = [Sample(name, share, part, 2) for part, name in enumerate(HALVES)]
    return [Sample(level_name(sampling.online_s), share), *halves, whole]


def fractions(role: str, config: Config) -> list[float]:
    """The share of the scan that each image of a study of this role is made from."""
    samples = samples_of(role, config.sampling, config.simulation.scan_s)
    return [sample.fraction for sample in samples]


def protocols(role: str, config: Config) -> tuple[str, ...]:
    """The protocols that a study of this role is reconstructed with; none if it is not needed."""
    if role == TRAINING:
        return tuple(sorted({"v1", "v2"} & sweep.datasets(config)))

    return ("v1", "v2") if role in BOTH_PROTOCOLS else ("v2",)


def needed(config: Config) -> dict[str, str]:
    """The roles that networks or figures need, each with what needs it."""
    reasons = {
        LESION: "for Table 1 and Figs. 3 to 5",
        HIGH_BMI: "for Fig. 5",
    }
    if {"v1", "v2"} & sweep.datasets(config):
        reasons[TRAINING] = "by the networks with data: v1 or v2"

    data = {entry.data for entry in config.networks.values()}
    if "adapt" in data:
        reasons[ADAPTATION] = "by the networks with data: adapt"

    if "n2n" in data:
        reasons[BLADDER] = "by the networks with data: n2n (Fig. 6)"
        reasons[CATHETER] = "by the networks with data: n2n (Fig. S1)"

    return reasons


def n_noisy_images(role: str, config: Config) -> int:
    """Noisy images of a test study and protocol, which networks denoise."""
    return config.sampling.realisations if role == LESION else 1


def role_of_dataset(data: str) -> str:
    """The role of the studies that a training set is made of; `data`: v1, v2 or adapt."""
    return ADAPTATION if data == "adapt" else TRAINING


def nominal_s(scan_s: float, expected_s: float | None, where: str | Path) -> float:
    """The duration that names the whole scan, s: the expected one, where there is one.

    Raises ValueError where the scan's differs from it by more than 1 %.
    """
    if expected_s is None:
        return scan_s

    if abs(scan_s - expected_s) > 0.01 * expected_s:
        expected = f"simulation.scan_s = {expected_s:g} s within 1 %"
        raise ValueError(f"{where}: the scan lasts {scan_s:g} s; expected {expected}")

    return expected_s


def level_name(seconds: float) -> str:
    """Name of a noise level, `60s`."""
    return f"{seconds:g}s"


def realisation_name(number: int) -> str:
    """Name of an i.i.d. realisation, `real01` for 1."""
    return f"real{number:02d}"
