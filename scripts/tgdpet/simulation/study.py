"""A study simulated into a list-mode folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .. import constants
from ..config.sections import Grid, ScannerChoice, Simulation
from ..config.studies import Study
from ..io import nifti
from ..listmode.events import write_events
from ..listmode.study_folder import image_sidecar
from ..runtime.seeds import derive, numpy_generator
from ..scanner import cylinder
from . import anatomy, monte_carlo, phantom


def simulate_study(
    folder: Path,
    study: Study,
    seed: int,
    parts: tuple[Grid, ScannerChoice, Simulation],
    threads: int = 1,
    step: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Simulate a study into `folder` and return its `listmode.json` without provenance.

    `seed` is the run's; `step` is told the share of the scan that each slice adds.
    """
    grid, choice, settings = parts
    seed = derive(seed, "study", study.seed)
    factor = settings.oversampling
    fine_mm = tuple(v / factor for v in grid.voxel_mm)
    fine = _phantom(study, seed, settings, tuple(n * factor for n in grid.shape), fine_mm)
    coarse = phantom.downsample(fine, factor)
    device = cylinder.from_choice(choice)
    scan = monte_carlo.scan_of(fine, coarse, fine_mm, device, settings)
    noise = monte_carlo.background(scan, derive(seed, "background"))

    def slices(total: int = 64) -> Any:
        for part in monte_carlo.simulate(scan, noise, derive(seed, "events"), threads, total):
            step(1 / total)
            yield part

    count = write_events(folder / "events.npy", slices())
    affine = nifti.grid_affine(tuple(grid.shape), tuple(grid.voxel_mm))
    injected = settings.dose_mbq_per_kg * fine.weight_kg
    meta = {
        "study": study.study, "role": study.role, "source": study.source, "bmi": study.bmi, "events": count,
        "scan_s": settings.scan_s, "effective_s": scan.effective_s, "grid": asdict(grid),
        "background": asdict(noise), "injected_mbq": injected, "weight_kg": fine.weight_kg,
        "scan_start_s": settings.uptake_min * 60, "half_life_s": constants.FDG_HALF_LIFE_S,
    }  # fmt: skip
    cylinder.write(folder / "scanner.json", device)
    nifti.write_plain(folder / "mu.nii.gz", coarse.mu_per_cm, affine)
    nifti.write_labels(folder / "organs.nii.gz", coarse.labels, affine)
    truth = coarse.suv * np.float32(monte_carlo.bqml_per_suv(settings))
    nifti.write_image(
        folder / "truth.nii.gz", truth, affine, image_sidecar(meta, settings.scan_s, {})
    )
    return meta


def _phantom(
    study: Study,
    seed: int,
    settings: Simulation,
    shape: tuple[int, ...],
    voxel_mm: tuple[float, ...],
) -> phantom.Phantom:
    """The body of a study, painted on a centred grid."""
    rng = numpy_generator(seed, "phantom")
    if study.source == "anatomy":
        patient = anatomy.read(study.path or "")
        return anatomy.make(
            patient, study.role, study.bmi, rng, settings, shape, voxel_mm, study.lesions or None
        )
    organs, weight_kg = phantom.make_organs(study.role, study.bmi, rng, settings)
    return phantom.paint(organs, weight_kg, shape, voxel_mm, rng)
