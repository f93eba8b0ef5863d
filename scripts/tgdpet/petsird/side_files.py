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

from .. import nuclides
from ..config.sections import Grid
from ..io import nifti
from ..io.contents import LETTERS, Number, Object, Text, check
from ..io.files import read_json
from ..listmode.background import BACKGROUND, Background

# SNOMED-RT and SNOMED-CT codes, DICOM CID 4020 and 4021
F18_SRT_CODE = "C-111A1"
FDG_SRT_CODE = "C-B1031"
NUCLIDE_OF_CODE = {
    F18_SRT_CODE: "F18",
    "77004003": "F18",
    "C-105A1": "C11",
    "C-107A1": "N13",
    "C-B1038": "O15",
    "C-131A3": "Ga68",
    "C-159A2": "Rb82",
}
TRACER_OF_CODE = {FDG_SRT_CODE: nuclides.FDG, "35321007": nuclides.FDG}
NOISE_PER_CM = 1e-3  # what interpolation may have left below 0
MOST_PER_CM = 1.0  # twice cortical bone at 511 keV is 0.35
SIDE_ENDINGS = (".json", ".mu.nii.gz", ".organs.nii.gz", ".background.npy")

# where each number stands in the exam information
EXAM_FIELDS = {
    "injected_mbq": "radionuclide_total_dose of its one radiopharmaceutical",
    "weight_kg": "patients_weight",
    "scan_start_s": "start_of_acquisition after radiopharmaceutical_start_date_time",
    "half_life_s": "radionuclide_code_sequence of a known nuclide",
}
DOSE_AND_TIMES = tuple(EXAM_FIELDS)
TRACER_KEYS = ("tracer", "nuclide")
TRACER_NAME = Text(LETTERS)
# What `X.json` says; what it lacks may stand in the exam information.
SIDE_FILE = Object(
    more={
        "injected_mbq": Number(above=0),
        "weight_kg": Number(above=0),
        "scan_start_s": Number(above=-1e-9),  # a scan may start at the injection
        "half_life_s": Number(above=0),
        "tracer": TRACER_NAME,
        "nuclide": TRACER_NAME,
        "background": BACKGROUND,
    }
)


@dataclass(frozen=True)
class Given:
    """Dose, times and tracer of a study; `background` in scanner-centred mm, None when not
    given.
    """

    injected_mbq: float
    weight_kg: float
    scan_start_s: float
    half_life_s: float
    tracer: str
    nuclide: str
    background: Background | None


def beside(path: Path, ending: str) -> Path:
    """The side file `X.ending` of `X.petsird`."""
    return path.with_suffix(ending)


def side_files(path: Path) -> list[Path]:
    """The side files of `X.petsird` that exist."""
    sides = [beside(path, ending) for ending in SIDE_ENDINGS]
    return [side for side in sides if side.exists()]


def read_given(path: Path, exam: Any, axial_shift_mm: float, tracer: str | None = None) -> Given:
    """Dose, weight, times and tracer from `X.json`, or else from a `petsird.ExamInformation` (or
    None); `tracer` is what the table of studies says.

    Raises ValueError naming the key and both places when one is missing, the file and value when
    one is wrong, and tracers, nuclides and half-lives that contradict each other.
    """
    side = beside(path, ".json")
    values = read_json(side) if side.exists() else {}
    check(values, SIDE_FILE, side)

    from_exam = _from_exam(exam)
    name, nuclide = _tracer(path, side, values, exam, tracer)
    if from_exam["half_life_s"] is None and nuclide in nuclides.NUCLIDES:
        from_exam["half_life_s"] = nuclides.NUCLIDES[nuclide].half_life_s

    numbers = {}
    for key, field in EXAM_FIELDS.items():
        if key in values:
            numbers[key] = _checked(key, values[key], f"{side}: {key}")
        elif from_exam[key] is not None:
            numbers[key] = _checked(key, from_exam[key], f"{path}: {field}")
        else:
            raise ValueError(
                f"{key} is missing: {side} lacks it, and so does the exam information of {path} "
                f"({field})"
            )

    if nuclide is None:
        nuclide = nuclides.of_half_life(numbers["half_life_s"])
    source = side if "nuclide" in values or "half_life_s" in values else path
    nuclides.check(name, nuclide, numbers["half_life_s"], str(source))

    background = _background(values.get("background"), axial_shift_mm)
    return Given(**numbers, tracer=name, nuclide=nuclide, background=background)


def _tracer(
    path: Path, side: Path, values: dict[str, Any], exam: Any, tracer: str | None
) -> tuple[str, str | None]:
    """Tracer (`unknown` where nothing says it) and nuclide (None), from the table, `X.json` and the
    exam information, which have to agree.
    """
    of_exam = _drug_codes(exam)
    by_source = {
        "tracer": {
            "the table of studies (--tracer)": tracer,
            str(side): values.get("tracer"),
            f"the exam information of {path}": of_exam["tracer"],
        },
        "nuclide": {
            str(side): values.get("nuclide"),
            f"the exam information of {path}": of_exam["nuclide"],
        },
    }

    found: dict[str, str | None] = {}
    for key, told in by_source.items():
        said = {source: value for source, value in told.items() if value}
        if len(set(said.values())) > 1:
            contradiction = ", ".join(f"{value} by {source}" for source, value in said.items())
            raise ValueError(f"{path}: {key}: expected one, got {contradiction}")
        found[key] = next(iter(said.values()), None)

    return found["tracer"] or nuclides.UNKNOWN, found["nuclide"]


def _drug_codes(exam: Any) -> dict[str, str | None]:
    """Tracer and nuclide of the one radiopharmaceutical of a `petsird.ExamInformation` (or
    None).
    """
    if exam is None or len(exam.radiopharmaceuticals) != 1:
        return dict.fromkeys(TRACER_KEYS)

    (drug,) = exam.radiopharmaceuticals
    of_nuclide = drug.radionuclide_code_sequence
    of_drug = drug.radiopharmaceutical_code_sequence

    nuclide = NUCLIDE_OF_CODE.get(of_nuclide.code_value)
    if nuclide is None:
        nuclide = nuclides.of_meaning(of_nuclide.code_meaning)
    return {"tracer": TRACER_OF_CODE.get(of_drug.code_value), "nuclide": nuclide}


def _checked(key: str, value: Any, source: str) -> float:
    # a scan may start at the injection
    low = -1e-9 if key == "scan_start_s" else 0.0

    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not (low < value < math.inf):
        raise ValueError(f"{source}: expected a number above 0, got {value!r}")
    return float(value)


def _from_exam(exam: Any) -> dict[str, float | None]:
    """The numbers of a `petsird.ExamInformation` (or None), None for what it does not say."""
    numbers: dict[str, float | None] = dict.fromkeys(DOSE_AND_TIMES)
    if exam is None:
        return numbers

    numbers["weight_kg"] = float(exam.patient.patients_weight) or None

    if len(exam.radiopharmaceuticals) == 1:
        (drug,) = exam.radiopharmaceuticals
        numbers["injected_mbq"] = float(drug.radionuclide_total_dose) or None

        start_ns = _nanoseconds(exam.start_of_acquisition)
        injected_ns = _nanoseconds(drug.radiopharmaceutical_start_date_time)
        if start_ns and injected_ns:
            numbers["scan_start_s"] = (start_ns - injected_ns) * 1e-9

    return numbers


def _nanoseconds(time: Any) -> int | None:
    """A `petsird.DateTime` (or None) since the epoch."""
    return time and int(time.numpy_value.astype(np.int64))


def _background(given: Any, axial_shift_mm: float) -> Background | None:
    """The background of `X.json`, moved to scanner-centred mm."""
    if given is None:
        return None

    background = Background(**given)
    x, y, z = background.scatter_centre_mm
    return dataclasses.replace(background, scatter_centre_mm=[x, y, z - axial_shift_mm])


def read_mu(path: Path, grid: Grid, axial_shift_mm: float, attenuation: bool) -> np.ndarray:
    """The attenuation map on the grid, 1/cm, (X, Y, Z) float32; zeros when `attenuation` is
    False.
    """
    if not attenuation:
        return np.zeros(tuple(grid.shape), np.float32)

    side = beside(path, ".mu.nii.gz")
    if not side.exists():
        raise ValueError(
            f"{side}: no attenuation map (1/cm, affine in gantry mm); without one: --no-attenuation"
        )

    data, affine = nifti.read_plain(side)
    low = data.min()
    high = data.max()
    if not (np.isfinite(data).all() and low >= -NOISE_PER_CM and high <= MOST_PER_CM):
        raise ValueError(
            f"{side}: expected 0 to {MOST_PER_CM} 1/cm, got {low:g} to {high:g} (HU or 1/m?)"
        )

    return _on_grid(np.maximum(data, 0), affine, grid, axial_shift_mm, order=1)


def read_organs(path: Path, grid: Grid, axial_shift_mm: float) -> np.ndarray | None:
    """Labels of `constants.ORGANS` on the grid by the nearest voxel, (X, Y, Z) int16; None without
    the file.
    """
    side = beside(path, ".organs.nii.gz")
    if not side.exists():
        return None

    labels, affine = nifti.read_labels(side)
    labels = labels.astype(np.float32)
    values = _on_grid(labels, affine, grid, axial_shift_mm, order=0)
    return np.rint(values).astype(np.int16)


def _on_grid(
    data: np.ndarray, affine: np.ndarray, grid: Grid, axial_shift_mm: float, order: int
) -> np.ndarray:
    """Values at the grid's voxel centres; 0 outside of `data`."""
    to_gantry = nifti.grid_affine(tuple(grid.shape), tuple(grid.voxel_mm))
    to_gantry[2, 3] += axial_shift_mm
    to_data = np.linalg.inv(affine) @ to_gantry

    values = np.empty(tuple(grid.shape), np.float32)
    n_x, n_y, n_z = grid.shape
    x, y = np.indices((n_x, n_y))

    # slice by slice: the coordinates of all voxels would take six times the image
    for k in range(n_z):
        z = np.full_like(x, k)
        voxels = np.stack([x, y, z, np.ones_like(x)])
        at = np.einsum("ij,jxy->ixy", to_data[:3], voxels)
        # rounded, so that a voxel centre that coincides with one of `data` gives its value
        at = np.round(at, 6)
        values[:, :, k] = map_coordinates(data, at, order=order, mode="grid-constant")

    return values
