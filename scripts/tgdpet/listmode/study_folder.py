"""A simulated acquisition on disk: written by stage 1, read by stages 2 and 3.

A folder a study: `events.npy`, `scanner.json`, `listmode.json` (dose, times, grid, background),
`mu.nii.gz` (1/cm), `truth.nii.gz` (Bq/mL at scan start), `organs.nii.gz` (labels of
`phantom.ORGANS`), and from stage 3 `additive.npy`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..config.roles import Sample
from ..config.sections import Grid, ReconProtocol
from ..io import arrays, nifti
from ..io.files import read_json, write_json
from ..scanner import cylinder
from .events import open_events

NEEDED = (
    "study", "events", "scan_s", "effective_s", "grid", "background", "injected_mbq", "weight_kg", "scan_start_s",
    "half_life_s",
)  # fmt: skip


@dataclass(frozen=True)
class Acquisition:
    """What reconstruction needs of a study; `events` is memory-mapped."""

    folder: Path
    meta: dict[str, Any]
    scanner: cylinder.AnyScanner
    grid: Grid
    events: np.ndarray
    mu_per_cm: np.ndarray
    affine: np.ndarray


def read(folder: str | Path) -> Acquisition:
    """Read a study's folder; errors name the file and what is wrong with it."""
    folder = Path(folder)
    meta = read_json(folder / "listmode.json")
    missing = [key for key in NEEDED if key not in meta]
    if missing:
        raise ValueError(
            f"{folder}/listmode.json: {missing[0]!r} is missing; expected {', '.join(NEEDED)}"
        )
    device = cylinder.read(folder / "scanner.json")
    events = open_events(folder / "events.npy", device)
    if len(events) != meta["events"]:
        raise ValueError(
            f"{folder}/events.npy: expected {meta['events']} events as in listmode.json, got {len(events)}"
        )
    mu, affine = nifti.read_plain(folder / "mu.nii.gz")
    return Acquisition(folder, meta, device, Grid(**meta["grid"]), events, mu, affine)


def read_additive(acquisition: Acquisition) -> np.ndarray:
    """The additive term beside the events, memory-mapped (n,) float32."""
    return _beside_events(acquisition, "additive.npy", "additive term")


def read_background(acquisition: Acquisition) -> np.ndarray | None:
    """Expected background counts/s of each event's LOR and TOF bin, if the data came with them;
    (n,) float32.
    """
    if not (acquisition.folder / "background.npy").exists():
        return None
    return _beside_events(acquisition, "background.npy", "background")


def _beside_events(acquisition: Acquisition, name: str, what: str) -> np.ndarray:
    path = acquisition.folder / name
    values = arrays.map_array(path, what)
    if values.shape != acquisition.events.shape:
        raise ValueError(
            f"{path}: expected {acquisition.events.shape[0]} values, one an event, got {values.shape}"
        )
    return values


def write_samples(
    path: Path, study: str, seed: int, samples: list[Sample], counts: Mapping[str, int]
) -> None:
    """Write `samples.json`: how each sample is drawn, and how many events it holds."""
    rows = [{**asdict(s), "fraction": s.fraction, "events": counts[s.name]} for s in samples]
    write_json(path, {"study": study, "seed": seed, "samples": rows})


def read_samples(path: Path) -> tuple[str, int, list[Sample]]:
    """Study, seed and samples of a `samples.json`."""
    content = read_json(path)
    keys = ("name", "share", "part", "parts")
    return (
        content["study"],
        content["seed"],
        [Sample(**{k: row[k] for k in keys}) for row in content["samples"]],
    )


def _background_methods(meta: Mapping[str, Any]) -> dict[str, str]:
    """How scatter and randoms were corrected."""
    if meta.get("background_given"):
        return dict.fromkeys(
            ("ScatterCorrectionMethod", "RandomsCorrectionMethod"), "given for each event"
        )
    scatter = "Gaussian source" if meta["background"]["scatter_bq"] > 0 else "none"
    randoms = (
        "rate and singles of the background model"
        if meta["background"]["randoms_per_s"] > 0
        else "none"
    )
    return {"ScatterCorrectionMethod": scatter, "RandomsCorrectionMethod": randoms}


def image_sidecar(
    meta: Mapping[str, Any], duration_s: float, more: Mapping[str, Any]
) -> dict[str, Any]:
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
    meta: Mapping[str, Any],
    sample: Sample,
    name: str,
    protocol: ReconProtocol,
    valid: tuple[int, int],
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


def files_read(folder: Path, *more: str) -> list[Path]:
    """The files that `read` reads, and those of `more` (such as background.npy) that are there."""
    needed = [
        folder / name for name in ("listmode.json", "scanner.json", "events.npy", "mu.nii.gz")
    ]
    beside = [folder / name for name in more]

    return [*needed, *(path for path in beside if path.exists())]
