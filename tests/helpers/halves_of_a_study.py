"""Two halves of a made-up acquisition, as images and as files; small enough to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tgdpet.io import nifti
from tgdpet.io.nifti import Image

SHAPE = (32, 28, 16)
VOXEL_MM = (4.0, 4.0, 5.0)
SIDECAR: dict[str, Any] = {
    "TracerName": "FDG",
    "Manufacturer": "Maker",
    "InjectedRadioactivity": 300.0,
    "BodyWeight": 70.0,
    "TracerHalfLife": 6586.2,
    "ScanStart": 3600.0,
    "FrameTimesStart": [0],
    "FrameDuration": [60.0],
}


def activity(organ_at: tuple[int, int, int] = (9, 15, 5)) -> np.ndarray:
    """A body with a warm organ and a lesion (X, Y, Z), Bq/mL."""
    x, y, z = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    body = 3000.0 * (((x - 15.5) / 13) ** 2 + ((y - 13.5) / 10) ** 2 <= 1)
    i, j, k = organ_at
    organ = 9000.0 * (((x - i) / 6) ** 2 + ((y - j) / 5) ** 2 + ((z - k) / 4) ** 2 <= 1)
    lesion = 9000.0 * ((x - 20) ** 2 + (y - 12) ** 2 + (z - 8) ** 2 <= 6)

    return body + organ + lesion


def measured(expected: np.ndarray, seed: int, counts: float = 12.0) -> Image:
    """An image with Poisson-like noise, `counts` a voxel of 3000 Bq/mL."""
    rng = np.random.default_rng(seed)
    noisy = rng.poisson(expected / 3000 * counts) / counts * 3000
    affine = nifti.grid_affine(SHAPE, VOXEL_MM)

    return Image(noisy.astype(np.float32), affine, dict(SIDECAR))


def write_halves(folder: Path) -> tuple[Path, Path]:
    """half1.nii.gz and half2.nii.gz with their sidecars."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in (1, 2):
        image = measured(activity(), seed=number)
        path = folder / f"half{number}.nii.gz"
        nifti.write_image(path, image.data, image.affine, image.sidecar)
        paths.append(path)

    return paths[0], paths[1]
