"""A PETSIRD file, and what lies beside it, to a study folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..config.sections import Grid
from ..io import arrays, nifti
from ..io.files import atomic
from ..listmode.background import Background
from ..listmode.events import EVENT, write_parts
from ..scanner import tabulated
from ..scanner.tabulated import TableScanner
from . import scanner as geometry
from . import side_files
from .coincidence import Coincidence
from .stream import MappedStream, read_header
from .time_blocks import Seen, walk

ALIGNED = np.eye(4)[:3]
EVENTS_AT_ONCE = 1 << 18  # decoded, 3 MiB: they stay in the cache for the check
SINGLES_ROUNDS = 10
T = TypeVar("T")


@dataclass(frozen=True)
class Described:
    """What a file's header and its side files say, in the scanner's frame: the scanner, dose and
    times, attenuation (1/cm) and labels on the grid.
    """

    device: TableScanner
    given: side_files.Given
    mu_per_cm: np.ndarray
    organs: np.ndarray | None


def import_study(
    path: str | Path,
    folder: str | Path,
    study: str,
    grid: Grid,
    attenuation: bool = True,
    role: str = "petsird",
    tracer: str | None = None,
    on_progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Write the study folder of a PETSIRD file and return its `listmode.json` without provenance.

    `tracer` is the table's, where that says one; `on_progress` gets the share of the file that each
    piece of events took. What the file holds and
    reconstruction does not use is counted under `not_used`. Raises FileNotFoundError or ValueError
    naming the file, the byte or field, what was expected and what came; the folder stays as it was.
    """
    path = Path(path)
    folder = Path(folder)
    mapped = MappedStream(path)
    header, start = read_header(path, mapped.data)
    limits = geometry.limits_of(path, header.scanner)

    # what is missing is refused before the long part
    described = _describe(path, header, grid, attenuation, tracer)

    # no file takes its name before all of the file is known: where the gantry stands, whether dead
    # time covers it, how many events there are
    seen = Seen(np.zeros(limits.n_detectors, np.int64))
    prompts = walk(path, mapped, start, limits, seen, EVENTS_AT_ONCE)
    parts = _kept(prompts, Coincidence(described.device), seen, len(mapped.data), on_progress)
    with atomic(folder / "events.npy") as unnamed:
        count = write_parts(unnamed, parts)
        dropped = seen.prompts - count
        if count == 0:
            raise ValueError(
                f"{path}: expected prompt events on pairs in coincidence, got {seen.prompts}, "
                "none on such"
            )

        if seen.others.gantry is not None:
            described = _describe(path, header, grid, attenuation, tracer, seen.others.gantry)
        given = described.given

        scan_s, effective_s = scan_times(path, seen.spans_ms, seen.others.alive, given.half_life_s)
        noise, device = _noise(given.background, seen, described.device, effective_s)
        background = _read_background(path, count, dropped)

    _write_background(folder, background)
    _write_images(folder, grid, described)
    tabulated.write_tables(folder, device)

    return {
        "study": study,
        "role": role,
        "source": "petsird",
        "bmi": _bmi(header.exam),
        "events": count,
        "scan_s": scan_s,
        "effective_s": effective_s,
        "grid": asdict(grid),
        "background": asdict(noise),
        "injected_mbq": given.injected_mbq,
        "weight_kg": given.weight_kg,
        "scan_start_s": given.scan_start_s,
        "half_life_s": given.half_life_s,
        "tracer": given.tracer,
        "nuclide": given.nuclide,
        "attenuation": attenuation,
        "organs": described.organs is not None,
        "background_given": (folder / "background.npy").exists(),
        "petsird": _origin(header, seen, device),
        "not_used": _not_used(header, seen, dropped, given.background is not None),
    }


def _describe(
    path: Path,
    header: Any,
    grid: Grid,
    attenuation: bool,
    tracer: str | None,
    gantry: np.ndarray | None = None,
) -> Described:
    """What header and side files say; ValueError naming what is missing or wrong."""
    device = geometry.scanner_of(path, header.scanner, gantry)
    shift_mm = device.axial_shift_mm
    mu_per_cm = side_files.read_mu(path, grid, shift_mm, attenuation)
    organs = side_files.read_organs(path, grid, shift_mm)
    given = side_files.read_given(path, header.exam, shift_mm, tracer)

    return Described(device, given, mu_per_cm, organs)


def _kept(
    prompts: Iterator[np.ndarray],
    coincidence: Coincidence,
    seen: Seen,
    file_bytes: int,
    on_progress: Callable[[float], None],
) -> Iterator[np.ndarray]:
    """The events (n,) of `listmode.EVENT` on pairs with an efficiency, the shares of the file
    reported.

    Three stages, of which the machine's two cores do two at a time: decode, check, write.
    """
    reported = 0

    for part in _ahead(_in_coincidence(_ahead(prompts), coincidence)):
        reached = seen.position
        on_progress((reached - reported) / file_bytes)
        reported = reached
        yield part


def _in_coincidence(parts: Iterator[np.ndarray], coincidence: Coincidence) -> Iterator[np.ndarray]:
    """Events on pairs with an efficiency; others say nothing: their system row is 0."""
    for part in parts:
        seen = coincidence.seen(part)
        kept = part if seen.all() else part[seen]
        yield np.ascontiguousarray(kept).view(EVENT).reshape(-1)


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, the next one made by a second thread meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def scan_times(
    path: Path, spans_ms: np.ndarray, alive: list[tuple[int, int, float]], half_life_s: float
) -> tuple[float, float]:
    """Time measured, and its integral over decay since the start of acquisition and over alive
    time, both s.

    `spans_ms` (n, 2): disjoint intervals of measurement; `alive`: (start ms, stop ms, fraction)
    that must cover them, or nothing for no dead time.
    """
    scan_ms = int((spans_ms[:, 1] - spans_ms[:, 0]).sum())
    if scan_ms == 0:
        raise ValueError(f"{path}: expected time blocks that last, got none of more than 0 ms")

    always = [(0, 1 << 33, 1.0)]
    blocks = np.array(sorted(alive) or always)
    if (blocks[1:, 0] < blocks[:-1, 1]).any():
        raise ValueError(
            f"{path}: dead-time blocks overlap; expected one alive-time fraction at each time"
        )

    rate = math.log(2) / half_life_s
    effective_s = 0.0
    covered_ms = 0.0
    for start, stop in spans_ms:
        # what each block has in common with the span
        a = np.maximum(blocks[:, 0], start)
        b = np.minimum(blocks[:, 1], stop)
        common = b > a
        a = a[common]
        b = b[common]
        fraction = blocks[common, 2]

        covered_ms += float((b - a).sum())
        decays = fraction * np.exp(-rate * a / 1e3) * -np.expm1(-rate * (b - a) / 1e3)
        effective_s += float(decays.sum()) / rate

    if covered_ms < scan_ms:
        raise ValueError(
            f"{path}: dead-time blocks cover {covered_ms:.0f} of {scan_ms} ms of events; "
            "expected all or none"
        )
    return scan_ms / 1e3, effective_s


def _noise(
    given: Background | None, seen: Seen, device: TableScanner, effective_s: float
) -> tuple[Background, TableScanner]:
    """Scatter and randoms, and the scanner with relative singles, from the delayeds when none are
    given.

    A detector's delayeds are in proportion to its singles times those of all its partners, which a
    few rounds divide out.
    """
    if given is not None:
        return given, device
    if seen.delayed == 0:
        return _randoms(0.0), device

    singles = np.ones(device.n_detectors)
    for _ in range(SINGLES_ROUNDS):
        partners = device.partners(singles)
        alone = partners <= 0
        singles = np.where(alone, 0, seen.delayed_counts / np.where(alone, 1, partners))
        singles /= singles.mean()

    per_s = seen.delayed / (device.random_cells(singles) * effective_s)
    return _randoms(per_s), replace(device, singles=singles)


def _randoms(per_s: float) -> Background:
    """A background without scatter, whose source has strength 0 and any width."""
    return Background(0.0, [0.0] * 3, [100.0] * 3, per_s)


def _read_background(path: Path, n_events: int, dropped: int) -> np.ndarray | None:
    """The background of each event, (n,) float32, if the file has one beside it."""
    source = side_files.beside(path, ".background.npy")
    if not source.exists():
        return None

    values = arrays.map_array(source, "background", foreign=True)
    if dropped:
        raise ValueError(
            f"{source}: {dropped} events of {path} lie on pairs without efficiency; remove them "
            "from both"
        )

    right = values.shape == (n_events,) and values.dtype.kind == "f"
    if not right or not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError(
            f"{source}: expected {n_events} numbers of at least 0, one an event, "
            f"got {values.dtype} of {values.shape}"
        )

    return values.astype(np.float32)


def _write_background(folder: Path, background: np.ndarray | None) -> None:
    path = folder / "background.npy"

    if background is None:
        path.unlink(missing_ok=True)  # of an earlier import
    else:
        arrays.write_array(path, background)


def _write_images(folder: Path, grid: Grid, described: Described) -> None:
    affine = nifti.grid_affine(tuple(grid.shape), tuple(grid.voxel_mm))
    nifti.write_plain(folder / "mu.nii.gz", described.mu_per_cm, affine)

    # without labels all is background, so that a study's folder always holds the same files
    organs = np.zeros(grid.shape) if described.organs is None else described.organs
    nifti.write_labels(folder / "organs.nii.gz", organs, affine)


def _bmi(exam: Any) -> float | None:
    """The body mass index, kg/m2, if the file says it or weight and size."""
    if exam is None:
        return None

    patient = exam.patient
    if patient.patients_body_mass_index > 0:
        return float(patient.patients_body_mass_index)
    if patient.patients_weight > 0 and patient.patients_size > 0:
        return float(patient.patients_weight / patient.patients_size**2)
    return None


def _origin(header: Any, seen: Seen, device: TableScanner) -> dict[str, Any]:
    """What the file says of its scanner and acquisition, for `listmode.json`."""
    scanner = header.scanner
    others = seen.others
    windows = [np.asarray(window.edges).tolist() for window in scanner.event_energy_bin_edges]
    alignment = scanner.gantry_alignment

    return {
        "model": scanner.model_name,
        "module_types": len(scanner.scanner_geometry.replicated_modules),
        "energy_windows_kev": windows,
        "prompt_event_policy": str(scanner.prompt_event_policy.name).lower(),
        "efficiencies": scanner.detection_efficiencies.method_description,
        "position": "centre of the detecting element's box",
        "axial_shift_mm": device.axial_shift_mm,
        "event_blocks": seen.events_blocks,
        "delayed_events": seen.delayed,
        "unordered_events": seen.unordered,  # smaller bin first; read as they stand, TOF too
        "dead_time_blocks": len(others.alive),
        "bed_transform": None if others.bed is None else others.bed[0].tolist(),
        "gantry_transforms": None if others.gantry is None else others.gantry.tolist(),
        "gantry_alignment": None if alignment is None else np.asarray(alignment.matrix).tolist(),
    }


def _not_used(header: Any, seen: Seen, dropped: int, background_given: bool) -> dict[str, int]:
    """Counts of what the file holds and reconstruction does not use."""
    scanner = header.scanner
    others = seen.others
    bed_moved = others.bed is not None and not np.allclose(others.bed[0], ALIGNED)
    gantry_aligned = scanner.gantry_alignment is not None
    non_detecting = scanner.scanner_geometry.non_detecting_volumes or []

    counts = {
        "single events": seen.singles,
        "singles histogram blocks": others.histograms,
        "external signal blocks": sum(others.signals.values()),
        "prompt events on pairs without efficiency": dropped,
        "delayed events (the background is given)": seen.delayed if background_given else 0,
        "bed position (images stay in the gantry's frame)": int(bed_moved),
        "gantry alignment (images stay in the gantry's frame)": int(gantry_aligned),
        "non-detecting volumes": len(non_detecting),
    }
    return {name: count for name, count in counts.items() if count}
