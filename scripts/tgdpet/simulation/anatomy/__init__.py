"""Phantoms from real anatomy: a label map, with or without a CT of the same body."""

from .patient import BLADDER_MARGIN_MM, LIVER_MARGIN_MM, Anatomy, grid_to_mm, make, read, sample

__all__ = [
    "BLADDER_MARGIN_MM",
    "LIVER_MARGIN_MM",
    "Anatomy",
    "grid_to_mm",
    "make",
    "read",
    "sample",
]
