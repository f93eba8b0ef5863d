"""Made-up patients as DICOM, at several dose levels, for tests and for the tutorial on images.

    python tests/helpers/dicom_patients.py data/dicom

writes old/ (three patients of an old protocol), new/ (two of a new one, sharper) and test/ (one):
for each patient one series a dose level, in folders named as in the ultra-low-dose PET challenge.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

import dicom_series

PIXEL_MM = [4.0, 4.0]
COUNTS = 60.0  # of a voxel of 1 Bq/mL times 1e4, at the full dose
OLD = {"Full_dose": 1, "1-4 dose": 4, "1-10 dose": 10, "1-20 dose": 20}
NEW = {"Full_dose": 1, "1-4 dose": 4, "1-10 dose": 10}
BLUR_VOXELS = {"old": 1.6, "new": 0.9, "test": 0.9}
PATIENTS = {"old": (10, 12, 11), "new": (10, 12), "test": (12,)}  # slices of each


def body(n_slices: int, seed: int) -> np.ndarray:
    """Activity of a body with a liver, a heart and hot spots, (slices, rows, columns), Bq/mL."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices((n_slices, 44, 52)).astype(float)

    def ellipsoid(centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
        parts = zip((z, y, x), centre, radii, strict=True)
        return sum(((axis - c) / r) ** 2 for axis, c, r in parts) <= 1

    width = rng.uniform(18, 22)
    inside = ((y - 22) / 15) ** 2 + ((x - 26) / width) ** 2 <= 1
    activity = 4000.0 * inside
    activity[ellipsoid((0.4 * n_slices, 21, 19), (5, 9, 10)) & inside] = 12000.0
    activity[ellipsoid((0.8 * n_slices, 16, 31), (3, 5, 5)) & inside] = 18000.0

    for _ in range(3):
        centre = (rng.uniform(1, n_slices - 1), rng.uniform(14, 30), rng.uniform(16, 36))
        activity[ellipsoid(centre, (1.5, 2.5, 2.5)) & inside] = rng.uniform(15e3, 30e3)

    return activity


def image(activity: np.ndarray, factor: int, blur_voxels: float, seed: int) -> np.ndarray:
    """An image of so many times less dose: Poisson noise, as smooth as its protocol makes it."""
    rng = np.random.default_rng(seed)
    expected = activity / 1e4 * COUNTS / factor
    measured = rng.poisson(expected + 0.02) / COUNTS * factor * 1e4

    return np.asarray(gaussian_filter(measured, (0.6, blur_voxels, blur_voxels)))


def write_patients(folder: Path) -> None:
    """Write all patients below `folder`."""
    seed = 0
    for group, lengths in PATIENTS.items():
        for number, n_slices in enumerate(lengths, start=1):
            seed += 1
            activity = body(n_slices, seed)
            for name, factor in (OLD if group == "old" else NEW).items():
                data = image(activity, factor, BLUR_VOXELS[group], 100 * seed + factor)
                place = folder / group / f"Doe_{number}" / name
                dicom_series.write(place, data, PixelSpacing=PIXEL_MM)


if __name__ == "__main__":
    write_patients(Path(sys.argv[1]))
