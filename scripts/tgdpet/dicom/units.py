"""Stored values to Bq/mL: the rescaling of each slice, and the units that the header tells."""

from __future__ import annotations

import math
from typing import Any

from .series import DicomError, Slice

# Philips: stored values times the rescale slope are counts; counts times this factor are Bq/mL.
PHILIPS_ACTIVITY_FACTOR = (0x7053, 0x1009)
SUV_UNITS = {
    "GML": "SUV by body weight, g/mL",
    "CM2ML": "SUV by body surface area, cm2/mL",
    "GCM2": "SUV, g/cm2",
}
ADVICE = "export the series in BQML"


def bqml_factor(item: Slice) -> float:
    """Bq/mL of one rescaled stored value, by the header's Units (0054,1001).

    Raises DicomError naming the units that are not activity concentration.
    """
    units = str(item.header.get("Units") or "none")
    if units == "BQML":
        return 1.0

    if units == "CNTS":
        return _counts_factor(item)

    if units in SUV_UNITS:
        raise DicomError(
            f"{item.path}: Units: expected BQML, got {units} ({SUV_UNITS[units]}); the network "
            f"needs activity concentration: {ADVICE}"
        )

    raise DicomError(
        f"{item.path}: Units: expected BQML or CNTS with a factor, got {units}; {ADVICE}"
    )


def rescaling(item: Slice) -> tuple[float, float]:
    """Slope and intercept of a slice; they differ from slice to slice in PET."""
    return _number(item, "RescaleSlope"), _number(item, "RescaleIntercept")


def _counts_factor(item: Slice) -> float:
    element = item.header.get(PHILIPS_ACTIVITY_FACTOR)
    factor = _as_number(element.value) if element is not None else None
    if not factor or factor <= 0:
        raise DicomError(
            f"{item.path}: Units: CNTS needs the vendor's factor to Bq/mL, which only Philips "
            f"writes (7053,1009); there is none: {ADVICE}"
        )
    return factor


def _number(item: Slice, tag: str) -> float:
    number = _as_number(item.header.get(tag))
    if number is None:
        raise DicomError(f"{item.path}: {tag}: expected a number, got {item.header.get(tag)!r}")
    return number


def _as_number(value: Any) -> float | None:
    """A finite number, also where a private element came as bytes; None for anything else."""
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace").strip(" \0")
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None

    return number if math.isfinite(number) else None
