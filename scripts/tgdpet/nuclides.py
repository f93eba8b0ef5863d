"""Positron emitters and tracers: names as in BIDS-PET, half-lives, the blur of positrons."""

from __future__ import annotations

import re
from typing import NamedTuple

from .constants import FDG_HALF_LIFE_S

UNKNOWN = "unknown"
FDG = "FDG"


class Nuclide(NamedTuple):
    """Half-life, s (ENSDF), and effective positron range, mm FWHM (Moses 2011, Nucl Instrum Meth A
    648:S236, after Derenzo); None where that has none.
    """

    half_life_s: float
    positron_mm: float | None


NUCLIDES = {
    "C11": Nuclide(1221.8, 0.92),
    "N13": Nuclide(597.9, 1.49),
    "O15": Nuclide(122.24, 2.48),
    "F18": Nuclide(FDG_HALF_LIFE_S, 0.54),
    "Cu64": Nuclide(45724.0, None),
    "Ga68": Nuclide(4062.6, 2.83),
    "Rb82": Nuclide(75.45, 6.14),
    "Zr89": Nuclide(282276.0, None),
    "I124": Nuclide(360806.0, None),
}
# of tracers that have no other
NUCLIDE_OF_TRACER = {FDG: "F18", "PSMA1007": "F18", "PSMA11": "Ga68"}
SAME_HALF_LIFE = 0.02  # relative: files give rounded values

SYMBOLS = {
    "fluorine": "F",
    "carbon": "C",
    "gallium": "Ga",
    "nitrogen": "N",
    "oxygen": "O",
    "copper": "Cu",
    "rubidium": "Rb",
    "zirconium": "Zr",
    "iodine": "I",
    "germanium": "Ge",
    "sodium": "Na",
    "yttrium": "Y",
    "scandium": "Sc",
}


def of_meaning(meaning: str) -> str | None:
    """Element and mass number as in BIDS-PET, `F18`, of `^18^Fluorine`, `F-18`, `18F` and alike."""
    meaning = meaning.strip()

    if caret := re.fullmatch(r"\^(\d+m?)\^(\w+)", meaning):
        symbol = SYMBOLS.get(caret[2].lower(), caret[2][:2])
        return f"{symbol}{caret[1]}"
    if behind := re.fullmatch(r"([A-Za-z]+)[- ]?(\d+m?)", meaning):
        return _named(behind[1], behind[2]) or meaning
    if before := re.fullmatch(r"(\d+m?)[- ]?([A-Za-z]+)", meaning):
        return _named(before[2], before[1]) or meaning

    return meaning or None


def _named(element: str, mass: str) -> str | None:
    """Symbol and mass number; None where the word is neither a symbol nor a known element."""
    symbol = SYMBOLS.get(element.lower())
    if symbol is None and len(element) <= 2:
        symbol = element.capitalize()

    return None if symbol is None else f"{symbol}{mass}"


def of_half_life(half_life_s: float) -> str:
    """The nuclide of a half-life, s; `unknown` where none of the table has it."""
    for name, nuclide in NUCLIDES.items():
        if _same(half_life_s, nuclide.half_life_s):
            return name

    return UNKNOWN


def check(tracer: str, nuclide: str, half_life_s: float, where: str) -> None:
    """Refuse a nuclide that the half-life contradicts, and a tracer that has another nuclide.

    Raises ValueError that starts with `where`.
    """
    nuclide = of_meaning(nuclide) or UNKNOWN

    known = NUCLIDES.get(nuclide)
    if known is not None and not _same(half_life_s, known.half_life_s):
        raise ValueError(
            f"{where}: nuclide {nuclide} has a half-life of {known.half_life_s:g} s, got "
            f"{half_life_s:g} s (that of {of_half_life(half_life_s)})"
        )

    expected = NUCLIDE_OF_TRACER.get(tracer, nuclide)
    if expected != nuclide:
        raise ValueError(
            f"{where}: tracer {tracer} is labelled with {expected}, got {nuclide} "
            f"(half-life {half_life_s:g} s)"
        )


def _same(half_life_s: float, other_s: float) -> bool:
    return abs(half_life_s - other_s) <= SAME_HALF_LIFE * other_s
