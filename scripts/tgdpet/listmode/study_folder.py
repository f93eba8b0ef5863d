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

from .. import nuclides
from ..config.roles import Sample
from ..config.sections import Grid, ReconProtocol
from ..io import arrays, nifti
from ..io.contents import WORD, Anything, ListOf, Number, Object, Text, Truth, check
from ..io.files import read_checked_json, write_checked_json
from ..scanner import cylinder
from .background import BACKGROUND
from .events import open_events

POSITIVE = Number(above=0)
MODEL = Text(raw=True, longest=100_000)  # as a PETSIRD file has it
# What `listmode.json` says; what is noted of its origin besides is carried along.
LISTMODE = Object(
    needed={
        "study": Text(WORD),
        "events": Number(low=0, whole=True),
        "scan_s": POSITIVE,
        "effective_s": POSITIVE,
        "grid": Object(
            {
                "shape": ListOf(Number(low=1, high=4096, whole=True), length=3),
                "voxel_mm": ListOf(POSITIVE, length=3),
            }
        ),
        "background": BACKGROUND,
        "injected_mbq": Number(above=0, optional=True),
        "weight_kg": Number(above=0, optional=True),
        "scan_start_s": Number(low=-1e-9),
        "half_life_s": POSITIVE,
    },
    more={
        "bmi": Number(above=0, optional=True),
        "attenuation": Truth(),
        "background_given": Truth(),
        "lesions": ListOf(Object(others=Anything())),
        "petsird": Object({"model": MODEL}, others=Anything()),
    },
    others=Anything(),
)
# What `samples.json` says. Names become parts of file names.
SAMPLES = Object(
    {
        "study": Text(WORD),
        "seed": Number(low=0, whole=True),
        "samples": ListOf(
            Object(
                {
                    "name": Text(WORD),
                    "share": Number(above=0, high=1),
                    "part": Number(low=0, whole=True),
                    "parts": Number(low=1, whole=True),
                },
                others=Anything(),
            )
        ),
    },
    others=Anything(),
)


PSF_LABELS = ("psf_fwhm_x", "psf_fwhm_y", "psf_fwhm_z")


@dataclass(frozen=True)
class Acquisition:
    """What reconstruction needs of a study; `meta` is the content of `listmode.json`."""

    folder: Path
    meta: dict[str, Any]
    scanner: cylinder.AnyScanner
    grid: Grid
    events: np.ndarray  # (n,) of EVENT, memory-mapped
    mu_per_cm: np.ndarray  # (X, Y, Z)
    affine: np.ndarray  # (4, 4), voxels to mm


def read_study(folder: str | Path) -> Acquisition:
    """Read a study's folder; errors name the file and what is wrong with it."""
    folder = Path(folder)

    meta = read_checked_json(folder / "listmode.json")
    check(meta, LISTMODE, folder / "listmode.json")

    scanner = cylinder.read_scanner(folder / "scanner.json")
    events = open_events(folder / "events.npy", scanner)
    if len(events) != meta["events"]:
        raise ValueError(
            f"{folder}/events.npy: expected {meta['events']} events as in listmode.json, "
            f"got {len(events)}"
        )

    grid = Grid(**meta["grid"])
    mu_per_cm, affine = nifti.read_plain(folder / "mu.nii.gz")

    return Acquisition(folder, meta, scanner, grid, events, mu_per_cm, affine)


def read_additive(acquisition: Acquisition) -> np.ndarray:
    """The additive term beside the events, Bq/mL mm, memory-mapped (n,) float32."""
    return _beside_events(acquisition, "additive.npy", "additive term")


def read_background(acquisition: Acquisition) -> np.ndarray | None:
    """Expected background counts/s of each event's LOR and TOF bin, (n,) float32.

    None where the data came without them.
    """
    if not (acquisition.folder / "background.npy").exists():
        return None

    return _beside_events(acquisition, "background.npy", "background")


def _beside_events(acquisition: Acquisition, name: str, quantity: str) -> np.ndarray:
    """The array `name` beside the events, with one value an event; errors call it `quantity`."""
    path = acquisition.folder / name
    values = arrays.map_array(path, quantity)

    if values.shape != acquisition.events.shape:
        raise ValueError(
            f"{path}: expected {acquisition.events.shape[0]} values, one an event, "
            f"got {values.shape}"
        )

    return values


def write_samples(
    path: Path, study: str, seed: int, samples: list[Sample], counts: Mapping[str, int]
) -> None:
    """Write `samples.json`: how each sample is drawn, and how many events it holds."""
    rows = []
    for sample in samples:
        row = {**asdict(sample), "fraction": sample.fraction, "events": counts[sample.name]}
        rows.append(row)

    write_checked_json(path, {"study": study, "seed": seed, "samples": rows})


def read_samples(path: Path) -> tuple[str, int, list[Sample]]:
    """Study, seed and samples of a `samples.json`; ValueError naming file and key."""
    content = read_checked_json(path)
    check(content, SAMPLES, path)

    samples: list[Sample] = []
    for number, row in enumerate(content["samples"]):
        where = f"{path}: samples[{number}]"
        if row["part"] >= row["parts"]:
            expected = f"part: expected less than parts = {row['parts']}"
            raise ValueError(f"{where}.{expected}, got {row['part']}")
        if row["name"] in [sample.name for sample in samples]:
            raise ValueError(f"{where}.name: expected each once, got {row['name']!r} again")

        samples.append(Sample(row["name"], row["share"], row["part"], row["parts"]))

    return content["study"], content["seed"], samples


def _background_methods(meta: Mapping[str, Any]) -> dict[str, str]:
    """How scatter and randoms were corrected."""
    scatter = "none"
    randoms = "none"

    if meta.get("background_given"):
        scatter = "given for each event"
        randoms = "given for each event"
    else:
        if meta["background"]["scatter_bq"] > 0:
            scatter = "Gaussian source"
        if meta["background"]["randoms_per_s"] > 0:
            randoms = "rate and singles of the background model"

    return {"ScatterCorrectionMethod": scatter, "RandomsCorrectionMethod": randoms}


def tracer_of(meta: Mapping[str, Any]) -> str:
    """The tracer of a study by its `listmode.json`; those written before it was noted hold FDG
    where they were simulated.
    """
    simulated = meta.get("source") in ("analytic", "anatomy")
    return str(meta.get("tracer") or (nuclides.FDG if simulated else nuclides.UNKNOWN))


def nuclide_of(meta: Mapping[str, Any]) -> str:
    """The nuclide of a study by its `listmode.json`, or by its half-life."""
    return str(meta.get("nuclide") or nuclides.of_half_life(meta["half_life_s"]))


def image_sidecar(
    meta: Mapping[str, Any], duration_s: float, more: Mapping[str, Any]
) -> dict[str, Any]:
    """BIDS-PET sidecar of an image of this study that holds `duration_s` worth of events.

    Times are s after TimeZero, the injection, whose time of day nobody keeps. What is not known of
    the tracer is "n/a", which BIDS-PET asks for.
    """
    manufacturer = "tgdpet"
    model = "simulated cylinder"
    if "petsird" in meta:
        manufacturer = "unknown"
        model = meta["petsird"]["model"] or "unknown"

    return {
        "Modality": "PT",
        "Manufacturer": manufacturer,
        "ManufacturersModelName": model,
        "AcquisitionMode": "list mode",
        "SkullStripped": False,
        "TracerName": tracer_of(meta),
        "TracerRadionuclide": nuclide_of(meta),
        "TracerHalfLife": meta["half_life_s"],
        "InjectedRadioactivity": meta["injected_mbq"],
        "InjectedRadioactivityUnits": "MBq",
        "InjectedMass": "n/a",
        "InjectedMassUnits": "n/a",
        "SpecificRadioactivity": "n/a",
        "SpecificRadioactivityUnits": "n/a",
        "ModeOfAdministration": "bolus",
        "BodyWeight": meta["weight_kg"],
        "TimeZero": "00:00:00",
        "InjectionStart": 0,
        "ScanStart": meta["scan_start_s"],
        "FrameTimesStart": [meta["scan_start_s"]],
        "FrameDuration": [duration_s],
        "ImageDecayCorrected": True,
        "ImageDecayCorrectionTime": meta["scan_start_s"],
        **more,
    }


def recon_name(meta: Mapping[str, Any], protocol: str, sample: Sample) -> str:
    """File name of a reconstructed sample."""
    return nifti.image_name(meta["study"], protocol, sample.name, tracer_of(meta))


def recon_sidecar(
    meta: Mapping[str, Any],
    sample: Sample,
    name: str,
    protocol: ReconProtocol,
    valid: tuple[int, int],
) -> dict[str, Any]:
    """BIDS-PET sidecar of a reconstructed sample.

    `name` is the protocol's, `valid` the first and last slice seen well enough.
    """
    more = {
        "ReconMethodName": f"TOF list-mode OSEM, protocol {name}",
        "ReconMethodParameterLabels": ["iterations", "subsets", *PSF_LABELS],
        "ReconMethodParameterUnits": ["none", "none", "mm", "mm", "mm"],
        "ReconMethodParameterValues": [
            protocol.iterations,
            protocol.subsets,
            *protocol.psf_fwhm_mm,
        ],
        "ReconFilterType": "Gaussian" if any(protocol.post_fwhm_mm) else "none",
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
    """The files that `read_study` reads, and those of `more` that are there."""
    needed = ("listmode.json", "scanner.json", "events.npy", "mu.nii.gz")
    beside = [name for name in more if (folder / name).exists()]

    return [folder / name for name in (*needed, *beside)]


def reconstructed_from(folder: Path) -> list[Path]:
    """The files of a study that its images are made from."""
    return files_read(folder, "additive.npy")
