"""A simulated acquisition on disk: written by stage 1, read by stages 2 and 3.

A folder a study: `events.npy`, `scanner.json`, `listmode.json` (dose, times, grid, background), `mu.nii.gz` (1/cm),
`truth.nii.gz` (Bq/mL at scan start), `organs.nii.gz` (labels of `phantom.ORGANS`), and from stage 3 `additive.npy`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import anatomy, images, listmode, phantom, scanner, simulate
from .config import Grid, Protocol, ScannerChoice, Simulation
from .files import read_json, write_json
from .samples import Sample
from .seeds import derive, numpy_generator
from .studies import Study

NEEDED = (
    "study", "events", "scan_s", "effective_s", "grid", "background", "injected_mbq", "weight_kg", "scan_start_s",
    "half_life_s",
)  # fmt: skip


@dataclass(frozen=True)
class Acquisition:
    """What reconstruction needs of a study; `events` is memory-mapped."""

    folder: Path
    meta: dict[str, Any]
    scanner: scanner.AnyScanner
    grid: Grid
    events: np.ndarray
    mu_per_cm: np.ndarray
    affine: np.ndarray


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
    device = scanner.from_choice(choice)
    scan = simulate.scan_of(fine, coarse, fine_mm, device, settings)
    noise = simulate.background(scan, derive(seed, "background"))

    def slices(total: int = 64) -> Any:
        for part in simulate.simulate(scan, noise, derive(seed, "events"), threads, total):
            step(1 / total)
            yield part

    count = listmode.write_events(folder / "events.npy", slices())
    affine = images.grid_affine(tuple(grid.shape), tuple(grid.voxel_mm))
    injected = settings.dose_mbq_per_kg * fine.weight_kg
    meta = {
        "study": study.study, "role": study.role, "source": study.source, "bmi": study.bmi, "events": count,
        "scan_s": settings.scan_s, "effective_s": scan.effective_s, "grid": asdict(grid),
        "background": asdict(noise), "injected_mbq": injected, "weight_kg": fine.weight_kg,
        "scan_start_s": settings.uptake_min * 60, "half_life_s": phantom.FDG_HALF_LIFE_S,
    }  # fmt: skip
    scanner.write(folder / "scanner.json", device)
    images.write_plain(folder / "mu.nii.gz", coarse.mu_per_cm, affine)
    images.write_labels(folder / "organs.nii.gz", coarse.labels, affine)
    truth = coarse.suv * np.float32(simulate.bqml_per_suv(settings))
    images.write_image(folder / "truth.nii.gz", truth, affine, image_sidecar(meta, settings.scan_s, {}))
    return meta


def _phantom(
    study: Study, seed: int, settings: Simulation, shape: tuple[int, ...], voxel_mm: tuple[float, ...]
) -> phantom.Phantom:
    """The body of a study, painted on a centred grid."""
    rng = numpy_generator(seed, "phantom")
    if study.source == "anatomy":
        patient = anatomy.read(study.path or "")
        return anatomy.make(patient, study.role, study.bmi, rng, settings, shape, voxel_mm, study.lesions or None)
    organs, weight_kg = phantom.make_organs(study.role, study.bmi, rng, settings)
    return phantom.paint(organs, weight_kg, shape, voxel_mm, rng)


def read(folder: str | Path) -> Acquisition:
    """Read a study's folder; errors name the file and what is wrong with it."""
    folder = Path(folder)
    meta = read_json(folder / "listmode.json")
    missing = [key for key in NEEDED if key not in meta]
    if missing:
        raise ValueError(f"{folder}/listmode.json: {missing[0]!r} is missing; expected {', '.join(NEEDED)}")
    device = scanner.read(folder / "scanner.json")
    events = listmode.open_events(folder / "events.npy", device)
    if len(events) != meta["events"]:
        raise ValueError(
            f"{folder}/events.npy: expected {meta['events']} events as in listmode.json, got {len(events)}"
        )
    mu, affine = images.read_plain(folder / "mu.nii.gz")
    return Acquisition(folder, meta, device, Grid(**meta["grid"]), events, mu, affine)


def read_additive(acquisition: Acquisition) -> np.ndarray:
    """The additive term beside the events, memory-mapped (n,) float32."""
    return _beside_events(acquisition, "additive.npy", "additive term")


def read_background(acquisition: Acquisition) -> np.ndarray | None:
    """Expected background counts/s of each event's LOR and TOF bin, if the data came with them; (n,) float32."""
    if not (acquisition.folder / "background.npy").exists():
        return None
    return _beside_events(acquisition, "background.npy", "background")


def _beside_events(acquisition: Acquisition, name: str, what: str) -> np.ndarray:
    path = acquisition.folder / name
    values = listmode.map_array(path, what)
    if values.shape != acquisition.events.shape:
        raise ValueError(f"{path}: expected {acquisition.events.shape[0]} values, one an event, got {values.shape}")
    return values


def write_samples(path: Path, study: str, seed: int, samples: list[Sample], counts: Mapping[str, int]) -> None:
    """Write `samples.json`: how each sample is drawn, and how many events it holds."""
    rows = [{**asdict(s), "fraction": s.fraction, "events": counts[s.name]} for s in samples]
    write_json(path, {"study": study, "seed": seed, "samples": rows})


def read_samples(path: Path) -> tuple[str, int, list[Sample]]:
    """Study, seed and samples of a `samples.json`."""
    content = read_json(path)
    keys = ("name", "share", "part", "parts")
    return content["study"], content["seed"], [Sample(**{k: row[k] for k in keys}) for row in content["samples"]]


def _background_methods(meta: Mapping[str, Any]) -> dict[str, str]:
    """How scatter and randoms were corrected."""
    if meta.get("background_given"):
        return dict.fromkeys(("ScatterCorrectionMethod", "RandomsCorrectionMethod"), "given for each event")
    scatter = "Gaussian source" if meta["background"]["scatter_bq"] > 0 else "none"
    randoms = "rate and singles of the background model" if meta["background"]["randoms_per_s"] > 0 else "none"
    return {"ScatterCorrectionMethod": scatter, "RandomsCorrectionMethod": randoms}


def image_sidecar(meta: Mapping[str, Any], duration_s: float, more: Mapping[str, Any]) -> dict[str, Any]:
    """BIDS-PET sidecar of an image of this study that holds `duration_s` worth of events."""
    return {
        "Modality": "PT",
        "Manufacturer": meta["petsird"]["model"] if "petsird" in meta else "tgdpet simulation",
        "TracerName": "FDG",
        "TracerRadionuclide": "F18",
        "TracerHalfLife": meta["half_life_s"],
        "InjectedRadioactivity": meta["injected_mbq"],
        "InjectedRadioactivityUnits": "MBq",
        "BodyWeight": meta["weight_kg"],
        "ScanStart": meta["scan_start_s"],
        "InjectionStart": 0,
        "FrameTimesStart": [0],
        "FrameDuration": [duration_s],
        "ImageDecayCorrected": True,
        "ImageDecayCorrectionTime": meta["scan_start_s"],
        **more,
    }


def recon_sidecar(
    meta: Mapping[str, Any], sample: Sample, name: str, protocol: Protocol, valid: tuple[int, int]
) -> dict[str, Any]:
    """BIDS-PET sidecar of a reconstructed sample."""
    more = {
        "ReconMethodName": f"TOF list-mode OSEM, protocol {name}",
        "ReconMethodParameterLabels": ["iterations", "subsets", "psf_fwhm_mm"],
        "ReconMethodParameterValues": [protocol.iterations, protocol.subsets, protocol.psf_fwhm_mm],
        "ReconFilterType": "Gaussian" if protocol.post_fwhm_mm else "none",
        "ReconFilterSize": protocol.post_fwhm_mm,
        "AttenuationCorrection": "attenuation map" if meta.get("attenuation", True) else "none",
        **_background_methods(meta),
        "Study": meta["study"],
        "Protocol": name,
        "Sample": sample.name,
        "ValidSlices": list(valid),
    }
    return image_sidecar(meta, meta["scan_s"] * sample.fraction, more)
