"""Lesions that the table of studies names: to be put into an organ, or seen in an image."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ..io.damage import shown
from .schema import ConfigError, plain_float

ORGAN_NAME = re.compile(r"^[A-Za-z0-9_]+$")


@dataclass(frozen=True)
class Lesion:
    """A sphere to put into an organ: diameter in mm, activity concentration over the organ's
    mean.
    """

    organ: str
    diameter_mm: float
    contrast: float


@dataclass(frozen=True)
class ImageLesion:
    """A lesion that an image shows: its centre, RAS mm, and diameter, mm."""

    centre_mm: tuple[float, float, float]
    diameter_mm: float


def parse_spheres(text: str, where: str) -> tuple[ImageLesion, ...]:
    """Lesions of `x:y:z:diameter_mm,...`, RAS mm; ConfigError starting with `where`."""
    items = (item.strip() for item in text.split(","))

    return tuple(_sphere(item, where) for item in items if item)


def _sphere(item: str, where: str) -> ImageLesion:
    try:
        x, y, z, diameter_mm = map(float, item.split(":"))
    except ValueError:
        x = y = z = diameter_mm = math.nan

    if not (math.isfinite(x + y + z) and 0 < diameter_mm < 500):
        expected = "expected x:y:z:diameter in mm, RAS, 12:-40:210:20"
        raise ConfigError(f"{where}: {item!r} is not allowed; {expected}")

    return ImageLesion((x, y, z), diameter_mm)


def parse_lesions(text: str, where: str) -> tuple[Lesion, ...]:
    """Lesions of `organ:diameter_mm:contrast,...`; ConfigError starting with `where`."""
    items = (item.strip() for item in text.split(","))

    return tuple(_lesion(item, where) for item in items if item)


def _lesion(item: str, where: str) -> Lesion:
    organ, *numbers = item.split(":")

    try:
        diameter_mm, contrast = map(plain_float, numbers)
    except ValueError:
        diameter_mm = contrast = math.nan

    if not (ORGAN_NAME.match(organ) and 0 < diameter_mm < 500 and 0 < contrast < 1000):
        expected = "expected organ:diameter in mm:contrast, liver:20:3"
        raise ConfigError(f"{where}: {shown(item)} is not allowed; {expected}")

    return Lesion(organ, diameter_mm, contrast)
