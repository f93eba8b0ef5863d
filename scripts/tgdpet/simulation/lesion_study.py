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
from .lesion import Sphere, events_of, merged

NOT_COPIED = (
    "events.npy",
    "listmode.json",
    "additive.npy",
    "samples.json",
)  # they follow from the events


def bqml_of_suv(folder: Path, suv: float) -> float:
    """Activity concentration of an SUV at a study's scan start, Bq/mL; ValueError if dose, weight
    or times lack.
    """
    meta = study_folder.read(folder).meta
    try:
        return suv * nifti.suv_factor(study_folder.image_sidecar(meta, meta["scan_s"], {}))
    except ValueError as error:
        raise ValueError(f"{folder}/listmode.json: {error}") from error


def insert(
    folder: Path,
    out_dir: Path,
    sphere: Sphere,
    seed: int,
    threads: int = 1,
    step: Callable[[float], None] = lambda share: None,
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
            f"{folder}/background.npy: this study brings the background of each of its events; that of the lesion's "
            "events is unknown"
        )
    study = study_folder.read(folder)
    _check_inside(study, sphere)
    projector = Projector(study.scanner, study.grid, threads)
    new, mean = events_of(projector, study.mu_per_cm, sphere, study.meta["effective_s"], seed, step)
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
    entry = {**asdict(sphere), "expected_events": round(mean, 2), "events": len(new), "seed": seed}
    return {**study.meta, "events": count, "lesions": [*study.meta.get("lesions", []), entry]}


def _check_inside(study: study_folder.Acquisition, sphere: Sphere) -> None:
    if not (sphere.diameter_mm > 0 and sphere.bqml > 0 and sphere.psf_fwhm_mm >= 0):
        raise ValueError(
            f"lesion: diameter {sphere.diameter_mm:g} mm, {sphere.bqml:g} Bq/mL, blur {sphere.psf_fwhm_mm:g} mm: "
            "expected the first two above 0, the blur not below"
        )
    limit = [n * v / 2 for n, v in zip(study.grid.shape, study.grid.voxel_mm, strict=True)]
    limit[2] = min(limit[2], float(np.abs(study.scanner.detector_mm()[:, 2]).max()))
    for axis, c, half in zip("xyz", sphere.centre_mm, limit, strict=True):
        if not abs(c) + sphere.diameter_mm / 2 <= half:
            raise ValueError(
                f"{study.folder}: lesion of {sphere.diameter_mm:g} mm at {axis} = {c:g} mm leaves the field of view, "
                f"which ends at {axis} = +-{half:g} mm"
            )


def _mark(folder: Path, sphere: Sphere) -> None:
    """The sphere in the study's labels and true activity."""
    organs, truth = folder / "organs.nii.gz", folder / "truth.nii.gz"
    if organs.exists():
        labels, affine = nifti.read_labels(organs)
        share = _share(labels.shape, affine, sphere)
        nifti.write_labels(
            organs, np.where(share >= min(0.5, share.max()), ORGANS["lesion"], labels), affine
        )
    if truth.exists():
        image = nifti.read_image(truth)
        more = np.float32(sphere.bqml) * _share(image.data.shape, image.affine, sphere)
        nifti.write_image(truth, image.data + more, image.affine, image.sidecar)


def _share(shape: tuple[int, ...], affine: np.ndarray, sphere: Sphere, n: int = 4) -> np.ndarray:
    """Share of each voxel of an axis-parallel grid inside the sphere, from n^3 points a voxel, (X,
    Y, Z) float32.
    """
    fine = [(np.arange(m * n) + 0.5) / n - 0.5 for m in shape]
    x, y, z = (
        f * affine[a, a] + affine[a, 3] - c
        for a, (f, c) in enumerate(zip(fine, sphere.centre_mm, strict=True))
    )
    radius2 = (sphere.diameter_mm / 2) ** 2
    out = np.zeros(shape, np.float32)
    near = [
        np.flatnonzero((np.abs(v).reshape(-1, n) ** 2).min(axis=1) <= radius2) for v in (x, y, z)
    ]
    if (
        min(map(len, near)) == 0
    ):  # smaller than the points' distance: all in the voxel around its centre
        middle = tuple(int(np.argmin(np.abs(v))) // n for v in (x, y, z))
        out[middle] = 4 / 3 * np.pi * radius2**1.5 / abs(np.linalg.det(affine[:3, :3]))
        return out
    box = tuple(slice(i[0], i[-1] + 1) for i in near)
    x, y, z = (v[b.start * n : b.stop * n] for v, b in zip((x, y, z), box, strict=True))
    inside = x[:, None, None] ** 2 + y[:, None] ** 2 + z**2 <= radius2
    blocks = [s for b in box for s in (b.stop - b.start, n)]
    out[box] = inside.reshape(blocks).mean(axis=(1, 3, 5))
    return out
