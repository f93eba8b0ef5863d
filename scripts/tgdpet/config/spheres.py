"""Lesions that images show, as spheres in mm: the column `lesions` of studies of images."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .schema import ConfigError


@dataclass(frozen=True)
class Sphere:
    """A lesion that an image shows: its centre, RAS mm, and diameter, mm."""

    centre_mm: tuple[float, float, float]
    diameter_mm: float


def parse_spheres(text: str, where: str) -> tuple[Sphere, ...]:
    """Lesions of `x:y:z:diameter_mm,...`, RAS mm; ConfigError starting with `where`."""
    items = (item.strip() for item in text.split(","))

    return tuple(_sphere(item, where) for item in items if item)


def _sphere(item: str, where: str) -> Sphere:
    try:
        x, y, z, diameter_mm = map(float, item.split(":"))
    except ValueError:
        x = y = z = diameter_mm = math.nan

    if not (math.isfinite(x + y + z) and 0 < diameter_mm < 500):
        expected = "expected x:y:z:diameter in mm, RAS, 12:-40:210:20"
        raise ConfigError(f"{where}: {item!r} is not allowed; {expected}")

    return Sphere((x, y, z), diameter_mm)
