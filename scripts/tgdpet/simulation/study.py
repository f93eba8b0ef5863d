"""A study simulated into a list-mode folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..config.sections import Grid, ScannerChoice, Simulation
from ..config.studies import Study
from ..constants import FDG_HALF_LIFE_S
from ..io import nifti
from ..listmode.events import write_events
from ..listmode.study_folder import image_sidecar
from ..nuclides import FDG, NUCLIDE_OF_TRACER
from ..runtime.seeds import derive, numpy_generator
from ..scanner import cylinder
from . import anatomy, monte_carlo, phantom

N_SLICES = 64  # of time, each simulated by itself


def simulate_study(
    folder: Path,
    study: Study,
    seed: int,
    parts: tuple[Grid, ScannerChoice, Simulation],
    threads: int = 1,
    on_progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Simulate a study into `folder` and return its `listmode.json` without provenance.

    `seed` is the run's; `on_progress` gets the share of the scan that each slice adds.
    """
    grid, choice, settings = parts
    device = cylinder.from_choice(choice)
    study_seed = derive(seed, "study", study.seed)

    factor = settings.oversampling
    fine_shape = tuple(n * factor for n in grid.shape)
    fine_mm = tuple(v / factor for v in grid.voxel_mm)
    fine, notes = _phantom(study, study_seed, settings, fine_shape, fine_mm)
    coarse = phantom.downsample(fine, factor)

    scan = monte_carlo.scan_of(fine, coarse, fine_mm, device, settings)
    noise = monte_carlo.background(scan, derive(study_seed, "background"))
    events_seed = derive(study_seed, "events")

    def slices() -> Iterator[np.ndarray]:
        for part in monte_carlo.simulate(scan, noise, events_seed, threads, N_SLICES):
            on_progress(1 / N_SLICES)
            yield part

    count = write_events(folder / "events.npy", slices())
    meta = {
        "study": study.study,
        "role": study.role,
        "source": study.source,
        "bmi": study.bmi,
        "events": count,
        "scan_s": settings.scan_s,
        "effective_s": scan.effective_s,
        "grid": asdict(grid),
        "background": asdict(noise),
        "injected_mbq": settings.dose_mbq_per_kg * fine.weight_kg,
        "weight_kg": fine.weight_kg,
        "scan_start_s": settings.uptake_min * 60,
        "half_life_s": FDG_HALF_LIFE_S,
        "tracer": FDG,
        "nuclide": NUCLIDE_OF_TRACER[FDG],
        "notes": notes,
    }
    cylinder.write_scanner(folder / "scanner.json", device)
    _write_images(folder, meta, grid, coarse, settings)

    return meta


def _phantom(
    study: Study,
    seed: int,
    settings: Simulation,
    shape: tuple[int, ...],
    voxel_mm: tuple[float, ...],
) -> tuple[phantom.Phantom, list[str]]:
    """The body of a study, painted on a centred grid, and what the log has to say of it."""
    rng = numpy_generator(seed, "phantom")

    if study.source == "anatomy":
        patient = anatomy.read_anatomy(study.path or "", study.labels)
        lesions = study.lesions or None
        painted = anatomy.make_phantom(
            patient,
            study.role,
            study.bmi,
            rng,
            settings,
            shape,
            voxel_mm,
            lesions,
        )
        organ = anatomy.organ_of(study.role)
        return painted, anatomy.notes(patient, organ, painted.labels, voxel_mm)

    organs, weight_kg = phantom.make_organs(study.role, study.bmi, rng, settings)
    return phantom.paint(organs, weight_kg, shape, voxel_mm, rng), []


def _write_images(
    folder: Path, meta: dict[str, Any], grid: Grid, body: phantom.Phantom, settings: Simulation
) -> None:
    """Attenuation, labels and true activity of the phantom on the image grid."""
    affine = nifti.grid_affine(tuple(grid.shape), tuple(grid.voxel_mm))
    truth_bqml = body.suv * np.float32(monte_carlo.bqml_per_suv(settings))
    sidecar = image_sidecar(meta, settings.scan_s, {})

    nifti.write_plain(folder / "mu.nii.gz", body.mu_per_cm, affine)
    nifti.write_labels(folder / "organs.nii.gz", body.labels, affine)
    nifti.write_image(folder / "truth.nii.gz", truth_bqml, affine, sidecar)
