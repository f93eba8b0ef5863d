"""From a study's list mode on disk to its images: corrections, then samples with a protocol."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config.roles import Sample
from ..config.sections import ReconProtocol
from ..io import files, nifti
from ..io.arrays import write_array
from ..listmode import study_folder
from ..listmode.background import Background
from ..listmode.study_folder import Acquisition
from ..runtime.progress import Progress
from . import additive_term, osem, sensitivity
from .projector_cpu import Projector
from .projectors import on_device
from .subsets import DrawnEvents


def write_corrections(
    study: Acquisition,
    threads: int,
    cache: Path | None,
    sensitivity_path: Path,
    additive_path: Path,
) -> list[Path]:
    """Write the sensitivity image (NIfTI, counts / (Bq/mL s)) and the additive term of each event
    (array, Bq/mL mm), which all images of a study share; the files of `cache` that were read.
    """
    name = study.meta["study"]
    projector = Projector(study.scanner, study.grid, threads)

    with Progress(sensitivity.work(study.scanner), f"sensitivity {name}", "pairs") as bar:
        image = sensitivity.cached(projector, study.mu_per_cm, cache, bar.update)
    nifti.write_plain(sensitivity_path, image, study.affine)

    noise = Background(**study.meta["background"])
    given = study_folder.read_background(study)
    with Progress(len(study.events), f"background {name}", "events") as bar:
        additive = additive_term.additive(
            projector, study.events, study.mu_per_cm, noise, given, bar.update
        )
    write_array(additive_path, additive)

    if cache is None:
        return []

    return [cache / f"sensitivity-{sensitivity.key(projector, study.mu_per_cm)}.npy"]


def write_images(
    study: Acquisition,
    samples: Sequence[Sample],
    seed: int,
    sensitivity_path: Path,
    protocol: ReconProtocol,
    name: str,
    folder: Path,
    *,
    threads: int,
    device: str,
    inputs: Iterable[Path],
    settings: Mapping[str, Any],
) -> list[Path]:
    """Reconstruct samples, one after the other, and write each into `folder`; their paths.

    `name` is the protocol's. `inputs` and `settings` go into the images' provenance.
    """
    additive = study_folder.read_additive(study)
    image_of_sensitivity, _ = nifti.read_plain(sensitivity_path)
    projector = on_device(device, study.scanner, study.grid, threads)
    valid = osem.valid_slices(image_of_sensitivity)

    label = study.meta["study"]
    drawn = DrawnEvents(projector, samples, study.events, additive, seed, label)
    n_events = sum(s.fraction for s in samples) * len(study.events) * protocol.iterations
    written = []
    with Progress(n_events, f"reconstruct {label} {name}", "events") as bar:
        for sample in samples:
            started = time.time()
            subsets = drawn.subsets(sample, protocol.subsets)
            seconds = study.meta["effective_s"] * sample.fraction
            image = osem.from_subsets(
                projector, subsets, image_of_sensitivity, seconds, protocol, bar.update
            )

            beside = study_folder.recon_sidecar(study.meta, sample, name, protocol, valid)
            beside["provenance"] = files.sidecar(inputs, settings, seed, device, started)
            path = folder / study_folder.recon_name(study.meta, name, sample)
            nifti.write_image(path, image, study.affine, beside)
            written.append(path)

    return written
