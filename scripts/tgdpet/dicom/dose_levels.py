"""The ultra-low-dose PET challenge's folders: for each patient one folder a dose level.

Siemens Biograph Vision Quadra: `Full_dose`, `1-2 dose`, ..., `1-100 dose`; United Imaging
uEXPLORER: `2.886 x 600 WB NORMAL`, `... D2` or `... DRF_2`, ..., `... D100`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .series import DicomError

FULL = "full"
FULL_DOSE = re.compile(r"(^|\W|_)(full[_ ]?dose|normal)$", re.IGNORECASE)
REDUCED_DOSE = re.compile(
    r"(?:(?:^|\s)1-(?P<part>\d+)[_ ]dose|(?:^|\s)(?:DRF_|D)(?P<factor>\d+))$", re.IGNORECASE
)


@dataclass(frozen=True)
class DosePatient:
    """One patient's folder, and the series folder of each dose level: `full`, `1in4`, ..."""

    folder: Path
    levels: Mapping[str, Path]


def level_of(name: str) -> str | None:
    """The dose level that a folder's name says, as `full` or `1in4`; None where it says none."""
    if FULL_DOSE.search(name):
        return FULL

    reduced = REDUCED_DOSE.search(name)
    if reduced is None:
        return None
    factor = int(reduced["part"] or reduced["factor"])
    return f"1in{factor}" if factor > 1 else None


def dose_patients(folder: str | Path) -> list[DosePatient]:
    """Every patient below `folder` with a full dose and at least one reduced one, in their order.

    Raises DicomError for a patient with reduced doses and no full one, and for two folders of one
    level. Empty where nothing below `folder` is named in the challenge's way.
    """
    found: list[DosePatient] = []
    for patient, levels in _by_patient(Path(folder)):
        if FULL not in levels:
            raise DicomError(
                f"{patient}: dose levels {', '.join(sorted(levels))} but no full dose "
                "(Full_dose, or ... NORMAL)"
            )
        if len(levels) > 1:
            ordered = sorted(levels, key=dose_factor)
            found.append(DosePatient(patient, {level: levels[level] for level in ordered}))
    return found


def dose_factor(level: str) -> int:
    """How many times less than the full dose: 4 of `1in4`, 1 of `full`."""
    return 1 if level == FULL else int(level.removeprefix("1in"))


def _by_patient(folder: Path) -> Iterator[tuple[Path, dict[str, Path]]]:
    folders = [folder, *sorted(p for p in folder.rglob("*") if p.is_dir())]
    for parent in folders:
        levels: dict[str, Path] = {}
        for child in sorted(p for p in parent.iterdir() if p.is_dir()):
            level = level_of(child.name)
            if level is None:
                continue
            if level in levels:
                raise DicomError(
                    f"{child}: the dose level {level} is already that of {levels[level].name!r}"
                )
            levels[level] = child
        if levels:
            yield parent, levels
