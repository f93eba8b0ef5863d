"""A study's folder with a lesion put into its list mode (see `lesion`), beside the one it was made
from.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..constants import ORGANS
from ..io import nifti
from ..listmode import study_folder
from ..listmode.events import write_events
from ..recon.projector_cpu import Projector
from . import lesion
from .lesion import Sphere, events_of, merged

# they follow from the events
NOT_COPIED = ("events.npy", "listmode.json", "additive.npy", "samples.json")


def default_psf_mm(folder: str | Path) -> float:
    """The blur of a study's scanner and nuclide, mm FWHM (`lesion.default_psf_mm`)."""
    study = study_folder.read_study(folder)

    return lesion.default_psf_mm(study.scanner, study_folder.nuclide_of(study.meta))


def bqml_of_suv(folder: Path, suv: float) -> float:
    """Activity concentration of an SUV at a study's scan start, Bq/mL; ValueError if dose, weight
    or times lack.
    """
    meta = study_folder.read_study(folder).meta

    try:
        sidecar = study_folder.image_sidecar(meta, meta["scan_s"], {})
        return suv * nifti.suv_factor(sidecar)
    except ValueError as error:
        raise ValueError(f"{folder}/listmode.json: {error}") from error


def insert(
    folder: Path,
    out_dir: Path,
    sphere: Sphere,
    seed: int,
    threads: int = 1,
    on_progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Write a study's folder anew with a lesion in its list mode; return its `listmode.json`, to be
    written last.

    All other files are copied but those that follow from the events (`NOT_COPIED`); the sphere is
    labelled "lesion" in `organs.nii.gz` and added to `truth.nii.gz`, where they exist. Raises
    ValueError when the sphere leaves the field of view, or the study brings its own background, of
    which nothing is known for new events.
    """
    if out_dir.resolve() == folder.resolve():
        raise ValueError(f"{out_dir}: the folder to write is the one to read; give another")
    if (folder / "background.npy").exists():
        raise ValueError(
            f"{folder}/background.npy: this study brings the background of each of its events; "
            "that of the lesion's events is unknown"
        )

    study = study_folder.read_study(folder)
    _check_inside(study, sphere)

    new, mean = events_of(
        Projector(study.scanner, study.grid, threads),
        study.mu_per_cm,
        sphere,
        study.meta["effective_s"],
        seed,
        on_progress,
    )
    if not mean > 0:
        raise ValueError(
            f"{folder}: no LOR of the scanner crosses the lesion at {sphere.centre_mm} mm"
        )

    out_dir.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name not in NOT_COPIED:
            shutil.copy2(path, out_dir / path.name)
    _mark(out_dir, sphere)
    count = write_events(out_dir / "events.npy", merged(study.events, new, seed))

    entry = {
        **asdict(sphere),
        "expected_events": round(mean, 2),
        "events": len(new),
        "seed": seed,
    }
    lesions = [*study.meta.get("lesions", []), entry]
    return {**study.meta, "events": count, "lesions": lesions}


def _check_inside(study: study_folder.Acquisition, sphere: Sphere) -> None:
    if not (sphere.diameter_mm > 0 and sphere.bqml > 0 and sphere.psf_fwhm_mm >= 0):
        raise ValueError(
            f"lesion: diameter {sphere.diameter_mm:g} mm, {sphere.bqml:g} Bq/mL, blur "
            f"{sphere.psf_fwhm_mm:g} mm: expected the first two above 0, the blur not below"
        )

    # along the axis the detectors end before the grid does, or after it
    grid = study.grid
    limits = [n * v / 2 for n, v in zip(grid.shape, grid.voxel_mm, strict=True)]
    detector_z = study.scanner.detector_mm()[:, 2]
    axial_mm = float(np.abs(detector_z).max())
    limits[2] = min(limits[2], axial_mm)

    for axis, centre, limit in zip("xyz", sphere.centre_mm, limits, strict=True):
        if not abs(centre) + sphere.diameter_mm / 2 <= limit:
            raise ValueError(
                f"{study.folder}: lesion of {sphere.diameter_mm:g} mm at {axis} = {centre:g} mm "
                f"leaves the field of view, which ends at {axis} = +-{limit:g} mm"
            )


def _mark(folder: Path, sphere: Sphere) -> None:
    """The sphere in the study's labels and true activity."""
    organs = folder / "organs.nii.gz"
    if organs.exists():
        labels, affine = nifti.read_labels(organs)
        share = _share(labels.shape, affine, sphere)
        # a sphere smaller than a voxel is marked too
        marked = share >= min(0.5, share.max())
        labels = np.where(marked, ORGANS["lesion"], labels)
        nifti.write_labels(organs, labels, affine)

    truth = folder / "truth.nii.gz"
    if truth.exists():
        image = nifti.read_image(truth)
        share = _share(image.data.shape, image.affine, sphere)
        added = np.float32(sphere.bqml) * share
        nifti.write_image(truth, image.data + added, image.affine, image.sidecar)


def _share(shape: tuple[int, ...], affine: np.ndarray, sphere: Sphere, n: int = 4) -> np.ndarray:
    """Share of each voxel of an axis-parallel grid inside the sphere, from n^3 points a voxel, (X,
    Y, Z) float32.
    """
    share = np.zeros(shape, np.float32)
    radius2 = (sphere.diameter_mm / 2) ** 2

    # distances from the centre along each axis, (voxels, points), and the voxels with near points
    from_centre = []
    near = []
    for axis, centre in enumerate(sphere.centre_mm):
        index = (np.arange(shape[axis] * n) + 0.5) / n - 0.5
        away = index * affine[axis, axis] + affine[axis, 3] - centre
        away = away.reshape(-1, n)
        nearest2 = (away**2).min(axis=1)

        from_centre.append(away)
        near.append(np.flatnonzero(nearest2 <= radius2))

    # smaller than the points' distance: all in the voxel around its centre
    if min(map(len, near)) == 0:
        middle = tuple(int(np.argmin(np.abs(away))) // n for away in from_centre)
        voxel_mm3 = abs(np.linalg.det(affine[:3, :3]))
        sphere_mm3 = 4 / 3 * np.pi * radius2**1.5
        share[middle] = sphere_mm3 / voxel_mm3
        return share

    # of the points in the voxels around it, those inside
    box = tuple(slice(voxels[0], voxels[-1] + 1) for voxels in near)
    x2, y2, z2 = (away[voxels] ** 2 for away, voxels in zip(from_centre, box, strict=True))
    x2 = x2[:, :, None, None, None, None]
    y2 = y2[:, :, None, None]
    inside = x2 + y2 + z2 <= radius2

    share[box] = inside.mean(axis=(1, 3, 5))
    return share
