"""Small PETSIRD files for the tests: a simulated study's, and scanners and blocks made with the
petsird package.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import petsird

from tgdpet.config.sections import Grid
from tgdpet.constants import FDG_HALF_LIFE_S
from tgdpet.io import nifti
from tgdpet.io.files import write_json
from tgdpet.listmode.events import EVENT, write_events
from tgdpet.petsird import scanner
from tgdpet.petsird.stream import MappedStream, read_header
from tgdpet.petsird.time_blocks import Seen, walk
from tgdpet.scanner import cylinder
from tgdpet.simulation.background_emissions import emit_randoms
from tgdpet.simulation.detection import acceptance_of
from tgdpet.simulation.random_numbers import state_of

TINY = cylinder.Scanner(
    radius_mm=100.0,
    crystals_per_ring=16,
    rings=4,
    ring_pitch_mm=10.0,
    max_ring_difference=2,
    tof_fwhm_ps=280.0,
    tof_bin_ps=140.0,
    efficiency=0.5,
    fov_radius_mm=60.0,
)
GRID = Grid([6, 6, 4], [20.0, 20.0, 10.0])
BACKGROUND = {
    "scatter_bq": 1e5,
    "scatter_centre_mm": [1.0, 2.0, 3.0],
    "scatter_sigma_mm": [50.0, 40.0, 30.0],
    "randoms_per_s": 1e-3,
}
GIVEN = {
    "injected_mbq": 250.0,
    "weight_kg": 70.0,
    "scan_start_s": 3600.0,
    "half_life_s": FDG_HALF_LIFE_S,
}


def study(
    folder: Path, n_events: int = 300, device: cylinder.Scanner = TINY, scan_s: float = 5.0
) -> np.ndarray:
    """Write a study of random events on accepted LORs; return its events."""
    events = np.empty(n_events, EVENT)
    emit_randoms(events, tuple(acceptance_of(device)), state_of(1))
    write_events(folder / "events.npy", [events])
    cylinder.write_scanner(folder / "scanner.json", device)
    rng = np.random.default_rng(0)
    affine = nifti.grid_affine(tuple(GRID.shape), tuple(GRID.voxel_mm))
    nifti.write_plain(
        folder / "mu.nii.gz", rng.uniform(0, 0.1, GRID.shape).astype(np.float32), affine
    )
    nifti.write_labels(folder / "organs.nii.gz", rng.integers(0, 5, GRID.shape), affine)
    write_json(
        folder / "listmode.json",
        {
            "study": "s",
            "role": "adapt",
            "source": "analytic",
            "bmi": 25.0,
            "events": n_events,
            "scan_s": scan_s,
            "effective_s": 4.9,
            "grid": vars(GRID),
            "background": BACKGROUND,
            **GIVEN,
        },
    )
    return events


def header(
    elements: int = 3, modules: int = 8, windows: int = 1, tof_bins: int = 5
) -> petsird.Header:
    """A ring of `modules` modules of `elements` crystals along the axis, radius 100 mm, without
    efficiencies.
    """
    info = petsird.ScannerInformation(model_name="ring")
    info.scanner_geometry.replicated_modules = [replicated(100.0, elements, modules)]
    info.tof_bin_edges = [
        [petsird.BinEdges(edges=np.linspace(-50, 50, tof_bins + 1, dtype=np.float32))]
    ]
    info.tof_resolution = [[40.0]]
    info.event_energy_bin_edges = [
        petsird.BinEdges(edges=np.linspace(430, 650, windows + 1, dtype=np.float32))
    ]
    info.energy_resolution_at_511 = [0.1]
    return petsird.Header(scanner=info)


def replicated(radius: float, elements: int, modules: int) -> petsird.ReplicatedDetectorModule:
    """Modules around the axis of crystals along it; the box spans 0 to 4 mm around the axis and
    along it.
    """
    corners = [
        petsird.Coordinate(c=np.array([radius + x, y, z], np.float32))
        for x in (0, 20)
        for y in (0, 4)
        for z in (0, 4)
    ]
    box = petsird.BoxSolidVolume(shape=petsird.BoxShape(corners=corners))
    places = [turn(0.0, 5.0 * i) for i in range(elements)]
    crystals = petsird.ReplicatedBoxSolidVolume(object=box, transforms=places)
    at = [turn(2 * np.pi * i / modules, 0.0) for i in range(modules)]
    return petsird.ReplicatedDetectorModule(
        object=petsird.DetectorModule(detecting_elements=crystals), transforms=at
    )


def turn(angle: float, z: float) -> petsird.RigidTransformation:
    """A turn about the axis and a shift along it."""
    c, s = np.cos(angle), np.sin(angle)
    return petsird.RigidTransformation(
        matrix=np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, z]], np.float32)
    )


def prompts(*events: tuple[int, int, int]) -> list:
    """One list of coincidences for one module type."""
    return [[[petsird.CoincidenceEvent(detection_bins=[a, b], tof_idx=t) for a, b, t in events]]]


def block(start: int, stop: int, *events: tuple[int, int, int], **more) -> petsird.TimeBlock:
    """An event block with these prompts."""
    interval = petsird.TimeInterval(start=start, stop=stop)
    return petsird.TimeBlock.EventTimeBlock(
        petsird.EventTimeBlock(time_interval=interval, prompt_events=prompts(*events), **more)
    )


def write(path: Path, head: petsird.Header, blocks: list) -> Path:
    """Write with the petsird package, and dose and times beside."""
    buffer = io.BytesIO()
    with petsird.BinaryPETSIRDWriter(buffer) as writer:
        writer.write_header(head)
        writer.write_time_blocks(iter(blocks))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
    write_json(path.with_suffix(".json"), GIVEN)
    return path


def read_all(path: Path, size: int = 1 << 16) -> tuple[np.ndarray, Seen]:
    """All prompts (n, 3) of a file, and what else it held."""
    mapped = MappedStream(path)
    head, start = read_header(path, mapped.data)
    limits = scanner.limits_of(path, head.scanner)
    scanner.scanner_of(path, head.scanner)
    seen = Seen(np.zeros(limits.n_detectors, np.int64))
    parts = list(walk(path, mapped, start, limits, seen, size))
    return np.concatenate([np.zeros((0, 3), np.int32), *parts]), seen
