"""A made-up segmented patient with a CT, stored in files of any orientation and voxel size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from tgdpet.config.sections import Simulation
from tgdpet.io import nifti
from tgdpet.simulation import anatomy
from tgdpet.simulation.anatomy import Anatomy, uptake
from tgdpet.simulation.phantom import Phantom

SHAPE, VOXEL = (64, 52, 44), (5.0, 5.0, 5.0)
SETTINGS = Simulation(lesion_diameter_mm=24.0)
NUMBER = {name: number for number, name in uptake.TOTAL_V2.items()}
# RAS mm of the patient: centre, semi-axes; the patient lies off the files' origin
BALLS = {
    "liver": ((60, 10, 60), (55, 45, 45)),
    "spleen": ((-75, -20, 60), (22, 25, 30)),
    "kidney_right": ((45, -35, -5), (18, 18, 25)),
    "colon": ((-50, 30, -20), (25, 18, 22)),
    "lung_lower_lobe_left": ((-60, 0, 112), (40, 50, 22)),
    "vertebrae_L3": ((0, -50, 0), (20, 18, 40)),
    "urinary_bladder": ((0, 20, -75), (35, 30, 28)),
}
HU = {"lung": -800, "marrow": 300, "bladder": 5}
OFFSET = np.array([33.0, -120.0, 410.0])


def patient(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Class numbers and CT numbers at points (..., 3) in the files' RAS mm: a body on a couch."""
    x, y, z = np.moveaxis(points - OFFSET, -1, 0)
    labels, inside = np.zeros(x.shape, np.int16), (x / 130) ** 2 + (y / 90) ** 2 <= 1
    hu = np.where(inside, np.where((x / 115) ** 2 + (y / 75) ** 2 <= 1, 50.0, -100.0), -1000.0)
    hu = np.where((y < -100) & (y > -118), -150.0, hu)
    for name, (c, r) in BALLS.items():
        ball = sum(((v - a) / b) ** 2 for v, a, b in zip((x, y, z), c, r, strict=True)) <= 1
        labels[ball] = NUMBER[name]
        hu[ball] = HU.get(uptake.TISSUES[uptake.stem(name)].label, 60)
    gas = ((x + 50) / 8) ** 2 + ((y - 30) / 8) ** 2 + ((z + 20) / 8) ** 2 <= 1
    ends = np.abs(z - 5) < 130
    return np.where(ends, labels, 0), np.where(gas, -900.0, hu)


def save(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(data, affine), path)


def grid(
    rotate: float = 0.0, voxel: tuple[float, ...] = (4.0, 4.0, 4.0), length: float = 260.0
) -> tuple[np.ndarray, np.ndarray]:
    """Affine and voxel centres (X, Y, Z, 3) of a grid over the patient, turned about x by `rotate`
    radians.
    """
    shape = [int(n // v) for n, v in zip((290, 250, length), voxel, strict=True)]
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(rotate), -np.sin(rotate)], [np.sin(rotate), np.cos(rotate)]]
    affine = turn @ nifti.grid_affine(tuple(shape), voxel)
    affine[:3, 3] += OFFSET + np.array([0, 0, 5.0])
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return affine, index @ affine[:3, :3].T + affine[:3, 3]


def write(folder: Path, ct: bool = True, **how: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    affine, points = grid(**how)
    labels, hu = patient(points)
    save(folder / "labels.nii.gz", labels.astype(np.uint8), affine)
    if ct:
        save(folder / "ct.nii.gz", hu.astype(np.int16), affine)
    return folder


def make(found: Path | Anatomy, role: str = "adapt", seed: int = 1, lesions: Any = ()) -> Phantom:
    if isinstance(found, Path):
        found = anatomy.read_anatomy(found)
    return anatomy.make_phantom(
        found, role, 24.0, np.random.default_rng(seed), SETTINGS, SHAPE, VOXEL, lesions
    )


def at(phantom: Phantom, x: float, y: float, z: float) -> tuple[int, int, int]:
    i, j, k = (round(c / v + (n - 1) / 2) for c, v, n in zip((x, y, z), VOXEL, SHAPE, strict=True))
    return i, j, k
