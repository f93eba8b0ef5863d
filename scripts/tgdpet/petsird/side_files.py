"""What a study needs beside its PETSIRD file: `X.json`, `X.mu.nii.gz`, `X.organs.nii.gz`,
`X.background.npy`.

Dose, weight and times come from `X.json` or else from the file's exam information. Images carry an
affine in gantry mm and are resampled to the study's grid; the attenuation map holds 1/cm.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import map_coordinates

from ..config.schema import nearest
from ..config.sections import Grid
from ..constants import FDG_HALF_LIFE_S
from ..io import nifti
from ..io.files import read_json
from ..listmode.background import Background

F18 = {"C-111A1", "77004003"}  # SNOMED-RT and SNOMED-CT codes of fluorine-18, DICOM CID 4020
NOISE_PER_CM = 1e-3  # what interpolation may have left below 0
MOST_PER_CM = 1.0  # twice cortical bone at 511 keV is 0.35
NUMBERS = ("injected_mbq", "weight_kg", "scan_start_s", "half_life_s")
KEYS = (*NUMBERS, "background")
ENDINGS = (".json", ".mu.nii.gz", ".organs.nii.gz", ".background.npy")


@dataclass(frozen=True)
class Given:
    """Dose and times of a study; `background` in scanner-centred mm, None when not given."""

    injected_mbq: float
    weight_kg: float
    scan_start_s: float
    half_life_s: float
    background: Background | None


def beside(path: Path, ending: str) -> Path:
    """The side file `X.ending` of `X.petsird`."""
    return path.with_suffix(ending)


def side_files(path: Path) -> list[Path]:
    """The side files of `X.petsird` that exist."""
    return [side for ending in ENDINGS if (side := beside(path, ending)).exists()]


def read_given(path: Path, exam: Any, axial_shift_mm: float) -> Given:
    """Dose, weight and times from `X.json`, or else from a `petsird.ExamInformation` (or None).

    Raises ValueError naming the key and both places when one is missing, and the file and value
    when one is wrong.
    """
    side = beside(path, ".json")
    values = read_json(side) if side.exists() else {}
    if not isinstance(values, dict):
        raise ValueError(f"{side}: expected a JSON object, got a {type(values).__name__}")
    for key in values:
        if key not in KEYS:
            raise ValueError(f"{side}: unknown key {key!r}; {nearest(key, KEYS)}")
    from_exam = _from_exam(exam)
    numbers = {}
    for key, (where, value) in from_exam.items():
        place, got = (
            (f"{side}: {key}", values[key]) if key in values else (f"{path}: {where}", value)
        )
        if got is None:
            raise ValueError(
                f"{key} is missing: {side} lacks it, and so does the exam information of {path} ({where})"
            )
        low = -1e-9 if key == "scan_start_s" else 0.0
        if isinstance(got, bool) or not isinstance(got, (int, float)) or not (low < got < math.inf):
            raise ValueError(f"{place}: expected a number above 0, got {got!r}")
        numbers[key] = float(got)
    return Given(**numbers, background=_background(side, values.get("background"), axial_shift_mm))


def _from_exam(exam: Any) -> dict[str, tuple[str, float | None]]:
    """Where each number stands in the exam information, and its value or None."""
    found: dict[str, float | None] = dict.fromkeys(NUMBERS)
    if exam is not None:
        found["weight_kg"] = float(exam.patient.patients_weight) or None
        if len(exam.radiopharmaceuticals) == 1:
            (drug,) = exam.radiopharmaceuticals
            found["injected_mbq"] = float(drug.radionuclide_total_dose) or None
            if drug.radionuclide_code_sequence.code_value in F18:
                found["half_life_s"] = FDG_HALF_LIFE_S
            start, injected = (t and int(t.numpy_value.astype(np.int64)) for t in (
                exam.start_of_acquisition, drug.radiopharmaceutical_start_date_time,
            ))  # fmt: skip
            if start and injected:
                found["scan_start_s"] = (start - injected) * 1e-9
    where = {
        "injected_mbq": "radionuclide_total_dose of its one radiopharmaceutical",
        "weight_kg": "patients_weight",
        "scan_start_s": "start_of_acquisition after radiopharmaceutical_start_date_time",
        "half_life_s": "radionuclide_code_sequence of fluorine-18",
    }
    return {key: (where[key], found[key]) for key in NUMBERS}


def _background(side: Path, given: Any, axial_shift_mm: float) -> Background | None:
    if given is None:
        return None
    names = [f.name for f in dataclasses.fields(Background)]
    if not isinstance(given, dict) or sorted(given) != sorted(names):
        raise ValueError(f"{side}: background: expected the keys {names}, got {given!r}")
    for name, value in given.items():
        numbers = (
            value if name.startswith("scatter_c") or name.startswith("scatter_si") else [value]
        )
        right = isinstance(numbers, list) and len(numbers) == (3 if numbers is value else 1)
        if not right or not all(isinstance(v, (int, float)) and math.isfinite(v) for v in numbers):
            raise ValueError(f"{side}: background.{name}: expected finite numbers, got {value!r}")
    if given["scatter_bq"] < 0 or given["randoms_per_s"] < 0 or min(given["scatter_sigma_mm"]) <= 0:
        raise ValueError(
            f"{side}: background: expected strengths of at least 0 and widths above 0, got {given!r}"
        )
    x, y, z = given["scatter_centre_mm"]
    return Background(**{**given, "scatter_centre_mm": [x, y, z - axial_shift_mm]})


def read_mu(path: Path, grid: Grid, axial_shift_mm: float, attenuation: bool) -> np.ndarray:
    """The attenuation map on the grid, 1/cm, (X, Y, Z) float32; zeros when `attenuation` is
    False.
    """
    side = beside(path, ".mu.nii.gz")
    if not attenuation:
        return np.zeros(tuple(grid.shape), np.float32)
    if not side.exists():
        raise ValueError(
            f"{side}: no attenuation map (1/cm, affine in gantry mm); without one: --no-attenuation"
        )
    data, affine = nifti.read_plain(side)
    if not (np.isfinite(data).all() and data.min() >= -NOISE_PER_CM and data.max() <= MOST_PER_CM):
        raise ValueError(
            f"{side}: expected 0 to {MOST_PER_CM} 1/cm, got {data.min():g} to {data.max():g} (HU or 1/m?)"
        )
    return _resample(np.maximum(data, 0), affine, grid, axial_shift_mm, 1)


def read_organs(path: Path, grid: Grid, axial_shift_mm: float) -> np.ndarray | None:
    """Labels of `phantom.ORGANS` on the grid by the nearest voxel, (X, Y, Z) int16; None without
    the file.
    """
    side = beside(path, ".organs.nii.gz")
    if not side.exists():
        return None
    labels, affine = nifti.read_labels(side)
    return np.rint(_resample(labels.astype(np.float32), affine, grid, axial_shift_mm, 0)).astype(
        np.int16
    )


def _resample(
    data: np.ndarray, affine: np.ndarray, grid: Grid, axial_shift_mm: float, order: int
) -> np.ndarray:
    """Values at the grid's voxel centres; 0 outside of `data`."""
    to_gantry = nifti.grid_affine(tuple(grid.shape), tuple(grid.voxel_mm))
    to_gantry[2, 3] += axial_shift_mm
    matrix = np.linalg.inv(affine) @ to_gantry
    out = np.empty(tuple(grid.shape), np.float32)
    x, y = np.meshgrid(np.arange(grid.shape[0]), np.arange(grid.shape[1]), indexing="ij")
    for k in range(
        grid.shape[2]
    ):  # slice by slice: the coordinates of all voxels would take six times the image
        at = np.einsum(
            "ij,jxy->ixy", matrix[:3], np.stack([x, y, np.full_like(x, k), np.ones_like(x)])
        )
        # rounded, so that a voxel centre that coincides with one of `data` gives its value
        out[:, :, k] = map_coordinates(data, np.round(at, 6), order=order, mode="grid-constant")
    return out
