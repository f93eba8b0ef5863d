"""A PET series as an image in Bq/mL, and where its slices lie in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..io.nifti import Image
from ..io.orientation import from_ras, to_ras
from .geometry import geometry_of
from .series import (
    DicomError,
    Slice,
    check_readable,
    choose_series,
    find_series,
    load_pydicom,
    one_frame,
)
from .sidecar import sidecar_of
from .units import bqml_factor, rescaling


@dataclass(frozen=True)
class DicomImage:
    """An image (X, Y, Z) in RAS+ order, the slices it came from, and the way back to their order.

    `series_affine` (4, 4) takes (columns, rows, slices) of the series to RAS mm.
    """

    image: Image
    slices: tuple[Slice, ...]
    series_affine: np.ndarray

    def as_slices(self, data: np.ndarray) -> np.ndarray:
        """An array (X, Y, Z) on this image's grid as (slices, rows, columns)."""
        in_series = from_ras(data, self.series_affine)
        return np.ascontiguousarray(in_series.transpose(2, 1, 0))


def read_series(
    folder: str | Path, wanted: str | None = None, frame: int | None = None
) -> DicomImage:
    """Read one PET series below `folder` as float32 Bq/mL on a RAS+ grid, mm.

    wanted: number, description or UID of the series, where there are several.
    frame: number of the frame or gate, from 1 on, where there are several.
    Raises FileNotFoundError, or DicomError with file or tag, what was expected and what came.
    """
    series = one_frame(choose_series(find_series(folder), folder, wanted), frame)
    check_readable(series)
    geometry = geometry_of(series)

    planes = [_plane_bqml(item) for item in geometry.slices]
    data = np.stack(planes).transpose(2, 1, 0)  # (columns, rows, slices), the affine's axes

    ras, affine = to_ras(data, geometry.affine)
    image = Image(np.ascontiguousarray(ras), affine, sidecar_of(geometry.slices))
    return DicomImage(image, geometry.slices, geometry.affine)


def _plane_bqml(item: Slice) -> np.ndarray:
    """(rows, columns) float32 in Bq/mL."""
    stored = _stored_values(item)
    slope, intercept = rescaling(item)
    factor = bqml_factor(item)

    plane = ((stored * slope + intercept) * factor).astype(np.float32)
    bad = int(np.count_nonzero(~np.isfinite(plane)))
    if bad:
        raise DicomError(f"{item.path}: {bad} of {plane.size} voxels are NaN or infinite")
    return plane


def _stored_values(item: Slice) -> Any:
    """The pixels as float64, of whatever transfer syntax pydicom's decoders read."""
    try:
        pixels = load_pydicom().dcmread(item.path).pixel_array
    except Exception as error:
        message = " ".join(str(error).split())
        raise DicomError(f"{item.path}: its pixels cannot be read: {message}") from error

    expected = (int(item.header.Rows), int(item.header.Columns))
    if pixels.shape != expected:
        raise DicomError(f"{item.path}: expected {expected} pixels, got {pixels.shape}")
    return pixels.astype(np.float64)
