"""Phantoms from real anatomy: a label map, with or without a CT of the same body."""

from .coverage import notes
from .patient import BLADDER_MARGIN_MM, LIVER_MARGIN_MM, grid_to_mm, make_phantom, organ_of
from .segmentation import Anatomy, read_anatomy

__all__ = [
    "BLADDER_MARGIN_MM",
    "LIVER_MARGIN_MM",
    "Anatomy",
    "grid_to_mm",
    "make_phantom",
    "notes",
    "organ_of",
    "read_anatomy",
]
