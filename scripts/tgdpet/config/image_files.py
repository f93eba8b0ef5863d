"""Studies that come as images: which files of a folder are theirs, by protocol and sample.

The layout is the one that the workflow itself writes, BIDS-PET's, with a JSON file beside each
image: `sub-STUDY/pet/sub-STUDY_..._rec-PROTOCOL_desc-SAMPLE_pet.nii.gz`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..io.damage import readable
from ..io.nibabel_alone import nib
from ..io.nifti import sidecar_path
from ..io.orientation import to_ras_affine, voxel_mm
from .schema import ConfigError

ENDING = re.compile(r"_rec-(?P<protocol>[A-Za-z0-9]+)_desc-(?P<sample>[A-Za-z0-9.]+)_pet\.nii\.gz")
SAME_VOXEL = 0.01  # relative difference of voxel sizes that counts as none


@dataclass(frozen=True)
class ImageHeader:
    """What an image file says before its voxels are read, as RAS+."""

    shape: tuple[int, ...]
    voxel_mm: np.ndarray


def subject_folder(root: str | Path, study: str) -> Path:
    """Where the images of a study lie below `root`."""
    return Path(root) / f"sub-{study}" / "pet"


def find_images(root: str | Path, study: str) -> Mapping[tuple[str, str], Path]:
    """(protocol, sample) -> file of all images of a study below `root`; samples as numbers grow.

    Raises ConfigError where two files are of the same protocol and sample.
    """
    found: dict[tuple[str, str], Path] = {}
    paths = subject_folder(root, study).glob(f"sub-{study}_*_pet.nii.gz")

    for path in sorted(paths, key=lambda path: natural(path.name)):
        parts = ENDING.search(path.name)
        if parts is None or parts.end() != len(path.name):
            continue

        key = (parts["protocol"], parts["sample"])
        if key in found:
            raise ConfigError(f"{path}: protocol and sample are those of {found[key].name}, too")
        found[key] = path

    return found


def natural(name: str) -> list[int | str]:
    """Key that sorts 30s before 120s."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


@cache
def read_header(path: Path) -> ImageHeader:
    """Shape and voxel size of an image, as RAS+; ConfigError naming the file that is none, or whose
    sidecar is missing.
    """
    if not sidecar_path(path).exists():
        raise ConfigError(f"{path}: its sidecar {sidecar_path(path).name} is missing")

    try:
        with readable(path, "NIfTI file"):
            image: Any = nib.load(path)
            shape, affine = to_ras_affine(image.shape[:3], np.asarray(image.affine, float))
    except ValueError as error:
        raise ConfigError(str(error)) from error

    return ImageHeader(shape, voxel_mm(affine))


def voxel_difference(header: ImageHeader, expected_mm: Sequence[float]) -> str | None:
    """What tells an image's voxels from the expected ones, in words; None within 1 %."""
    expected = np.asarray(expected_mm)
    if np.abs(header.voxel_mm / expected - 1).max() <= SAME_VOXEL:
        return None

    return f"expected voxels of {_times(expected)} mm, got {_times(header.voxel_mm)}"


def _times(values: np.ndarray) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
