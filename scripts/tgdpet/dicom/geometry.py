"""Where the slices of a series lie: their order, their spacing, the affine to RAS mm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .series import DicomError, Series, Slice, numbers_of

SAME_DIRECTION = 1e-4  # largest difference of a direction cosine
SPACING_TOLERANCE = 0.01  # of the spacing; headers round positions
ROUNDING_MM = 0.02  # what such roundings may come to
TILT_TOLERANCE = 0.01  # in-plane shift from one slice to the next, of their distance
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Geometry:
    """Slices in order along the normal, and the affine (4, 4) of the array (columns, rows, slices)
    to RAS mm.
    """

    slices: tuple[Slice, ...]
    affine: np.ndarray


def geometry_of(series: Series) -> Geometry:
    """Sort a series by position along the normal of its slices, not by number (PS3.3 C.7.6.2).

    Raises DicomError naming the file for orientations or pixel sizes that differ, slices that are
    missing or doubled, and a stack that is sheared (gantry tilt).
    """
    first = series.slices[0]
    orientation = numbers_of(first, "ImageOrientationPatient", 6)
    pixel_mm = numbers_of(first, "PixelSpacing", 2)
    for item in series.slices:
        _check_same(item, first, "ImageOrientationPatient", orientation, SAME_DIRECTION)
        _check_same(item, first, "PixelSpacing", pixel_mm, 1e-4 * float(pixel_mm.min()))

    along_row = orientation[:3]  # direction in which the column index grows
    along_column = orientation[3:]  # direction in which the row index grows
    _check_directions(first, along_row, along_column)
    normal = np.cross(along_row, along_column)

    positions = np.array([numbers_of(item, "ImagePositionPatient", 3) for item in series.slices])
    order = np.argsort(positions @ normal, kind="stable")
    slices = tuple(series.slices[i] for i in order)
    positions = positions[order]

    spacing_mm = _spacing_mm(slices, positions, normal)
    lps = np.eye(4)
    lps[:3, 0] = along_row * pixel_mm[1]
    lps[:3, 1] = along_column * pixel_mm[0]
    lps[:3, 2] = normal * spacing_mm
    lps[:3, 3] = positions[0]
    return Geometry(slices, LPS_TO_RAS @ lps)


def _spacing_mm(slices: Sequence[Slice], positions: np.ndarray, normal: np.ndarray) -> float:
    """Distance of neighbouring slices, the same for all of them."""
    if len(slices) == 1:
        return _thickness_mm(slices[0])

    steps = np.diff(positions, axis=0)
    distances = steps @ normal
    spacing_mm = float(np.median(distances))
    allowed_mm = max(SPACING_TOLERANCE * spacing_mm, ROUNDING_MM)

    for i in np.flatnonzero(distances < allowed_mm).tolist():
        raise DicomError(
            f"{slices[i + 1].path}: lies at the same position as {slices[i].path.name}: "
            "slices are doubled"
        )

    for i in np.flatnonzero(np.abs(distances - spacing_mm) > allowed_mm).tolist():
        raise DicomError(
            f"{slices[i + 1].path}: ImagePositionPatient: expected {spacing_mm:.3f} mm from "
            f"{slices[i].path.name}, got {distances[i]:.3f} mm: slices are missing or mixed"
        )

    shifts_mm = np.linalg.norm(steps - distances[:, None] * normal, axis=1)
    tilted_mm = max(TILT_TOLERANCE * spacing_mm, ROUNDING_MM)
    for i in np.flatnonzero(shifts_mm > tilted_mm).tolist():
        raise DicomError(
            f"{slices[i + 1].path}: ImagePositionPatient: expected slices straight above one "
            f"another, got a shift of {shifts_mm[i]:.3f} mm in the plane: gantry tilt"
        )

    # Over the whole stack, where the roundings of single positions weigh least.
    return float((positions[-1] - positions[0]) @ normal) / (len(slices) - 1)


def _thickness_mm(item: Slice) -> float:
    for tag in ("SpacingBetweenSlices", "SliceThickness"):
        value = item.header.get(tag)
        if value:
            return abs(float(value))
    raise DicomError(f"{item.path}: SliceThickness: expected a value for a single slice, got none")


def _check_same(item: Slice, first: Slice, tag: str, expected: np.ndarray, allowed: float) -> None:
    value = numbers_of(item, tag, len(expected))
    if np.abs(value - expected).max() > allowed:
        raise DicomError(
            f"{item.path}: {tag}: expected {expected.tolist()} as in {first.path.name}, "
            f"got {value.tolist()}"
        )


def _check_directions(item: Slice, one: np.ndarray, two: np.ndarray) -> None:
    lengths = np.linalg.norm([one, two], axis=1)
    if np.abs(lengths - 1).max() > 1e-3 or abs(float(one @ two)) > 1e-3:
        raise DicomError(
            f"{item.path}: ImageOrientationPatient: expected two perpendicular unit vectors, "
            f"got {[*one.tolist(), *two.tolist()]}"
        )
