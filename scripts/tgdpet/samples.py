"""The parts of a list mode: noise levels, halves and realisations, by role of the study (`subsample` draws them)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .config import Sampling


@dataclass(frozen=True)
class Sample:
    """A part of a list mode: events in `thin`'s lowest `share` and then in part `part` of `parts`."""

    name: str
    share: float
    part: int = 0
    parts: int = 1

    @property
    def fraction(self) -> float:
        """Expected share of all events."""
        return self.share / self.parts


def samples_of(role: str, sampling: Sampling, scan_s: float) -> list[Sample]:
    """The samples a study of this role needs (names as in the image files)."""
    whole = Sample(level_name(scan_s), 1.0)
    if role in ("train_v1v2", "adapt"):
        return [*(Sample(level_name(s), s / scan_s) for s in sampling.levels_s if s < scan_s), whole]
    if role == "test_lesion":
        n = sampling.realisations
        return [*(Sample(realisation_name(i + 1), 1.0, i, n) for i in range(n)), whole]
    if role == "test_high_bmi":
        return [Sample(level_name(sampling.test_s), sampling.test_s / scan_s), whole]
    share = sampling.online_s / scan_s
    halves = [Sample(f"half{i + 1}", share, i, 2) for i in range(2)]
    return [Sample(level_name(sampling.online_s), share), *halves, whole]


def nominal_s(scan_s: float, expected_s: float | None, where: str | Path) -> float:
    """The duration that names the whole scan: the expected one, which the scan must have within 1 %; ValueError."""
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
