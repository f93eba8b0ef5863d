"""A PETSIRD file, and what lies beside it, to a study folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..config.sections import Grid
from ..io import arrays, nifti
from ..io.files import atomic
from ..listmode.background import Background
from ..listmode.events import EVENT, write_events
from ..scanner import tabulated
from ..scanner.tabulated import TableScanner
from . import scanner as geometry
from . import side_files
from .coincidence import Coincidence
from .other_blocks import Others
from .stream import MappedStream, read_header
from .time_blocks import Seen, walk

ALIGNED = np.eye(4)[:3]
PIECE = 1 << 18  # events decoded at a time, 3 MiB: they stay in the cache for the check
T = TypeVar("T")


def import_study(
    path: str | Path,
    folder: str | Path,
    study: str,
    grid: Grid,
    attenuation: bool = True,
    role: str = "petsird",
    step: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Write the study folder of a PETSIRD file and return its `listmode.json` without provenance.

    `step` is told the share of the file that each piece of events took. What the file holds and
    reconstruction does not use is counted under `not_used`. Raises FileNotFoundError or ValueError
    naming the file, the byte or field, what was expected and what came; nothing is written then but
    whole files.
    """
    path, folder = Path(path), Path(folder)
    mapped = MappedStream(path)
    header, start = read_header(path, mapped.data)
    limits = geometry.limits_of(path, header.scanner)
    device, given, maps = _beside(
        path, header, grid, attenuation
    )  # what is missing is refused before the long part
    seen = Seen(np.zeros(limits.n_detectors, np.int64))
    coincidence = Coincidence(device)

    def parts() -> Iterator[np.ndarray]:
        done = 0
        # three stages, of which the machine's two cores do two at a time: decode, check, write
        for part in _ahead(
            _kept(_ahead(walk(path, mapped, start, limits, seen, PIECE)), coincidence)
        ):
            reached = seen.position
            step((reached - done) / len(mapped.data))
            done = reached
            yield part

    count = write_events(folder / "events.npy", parts())
    dropped = seen.prompts - count
    if count == 0:
        raise ValueError(
            f"{path}: expected prompt events on pairs in coincidence, got {seen.prompts}, none on such"
        )
    if seen.others.gantry is not None:
        device, given, maps = _beside(path, header, grid, attenuation, seen.others.gantry)
    scan_s, effective_s = times(path, seen.spans_ms, seen.others.alive, given.half_life_s)
    noise, device = _noise(given.background, seen, device, effective_s)
    _copy_background(path, folder, count, dropped)
    _write_images(folder, grid, *maps)
    tabulated.write(folder, device)
    return {
        "study": study, "role": role, "source": "petsird", "bmi": _bmi(header.exam), "events": count,
        "scan_s": scan_s, "effective_s": effective_s, "grid": asdict(grid), "background": asdict(noise),
        "injected_mbq": given.injected_mbq, "weight_kg": given.weight_kg, "scan_start_s": given.scan_start_s,
        "half_life_s": given.half_life_s, "attenuation": attenuation, "organs": maps[1] is not None,
        "background_given": (folder / "background.npy").exists(),
        "petsird": _described(header, seen, device),
        "not_used": _not_used(header, seen, dropped, given.background is not None),
    }  # fmt: skip


def _beside(
    path: Path, header: Any, grid: Grid, attenuation: bool, gantry: np.ndarray | None = None
) -> tuple[TableScanner, side_files.Given, tuple[np.ndarray, np.ndarray | None]]:
    """The scanner, and the side files in its frame: dose and times, (attenuation, labels) on the
    grid.
    """
    device = geometry.scanner_of(path, header.scanner, gantry)
    shift = device.axial_shift_mm
    maps = (
        side_files.read_mu(path, grid, shift, attenuation),
        side_files.read_organs(path, grid, shift),
    )
    return device, side_files.read_given(path, header.exam, shift), maps


def _kept(parts: Iterator[np.ndarray], coincidence: Coincidence) -> Iterator[np.ndarray]:
    """The events (n,) of `listmode.EVENT` on pairs with an efficiency; others say nothing: their
    system row is 0.
    """
    for part in parts:
        seen = coincidence.seen(part)
        yield np.ascontiguousarray(part if seen.all() else part[seen]).view(EVENT).reshape(-1)


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, the next one made by a second thread meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def times(
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
    rate = math.log(2) / half_life_s
    blocks = np.array(sorted(alive) or [(0, 1 << 33, 1.0)])
    if (blocks[1:, 0] < blocks[:-1, 1]).any():
        raise ValueError(
            f"{path}: dead-time blocks overlap; expected one alive-time fraction at each time"
        )
    effective, covered = 0.0, 0.0
    for start, stop in spans_ms:
        a, b = np.maximum(blocks[:, 0], start), np.minimum(blocks[:, 1], stop)
        a, b, fraction = (v[b > a] for v in (a, b, blocks[:, 2]))
        covered += float((b - a).sum())
        effective += (
            float((fraction * np.exp(-rate * a / 1e3) * -np.expm1(-rate * (b - a) / 1e3)).sum())
            / rate
        )
    if covered < scan_ms:
        raise ValueError(
            f"{path}: dead-time blocks cover {covered:.0f} of {scan_ms} ms of events; expected all or none"
        )
    return scan_ms / 1e3, effective


def _noise(
    given: Background | None, seen: Seen, device: TableScanner, effective_s: float
) -> tuple[Background, TableScanner]:
    """Scatter and randoms, and the scanner with relative singles, from the delayeds when none are
    given.

    A detector's delayeds are in proportion to its singles times those of all its partners, which a
    few rounds divide out.
    """
    if given is not None or seen.delayed == 0:
        return given or _randoms(0.0), device
    singles = np.ones(device.n_detectors)
    for _ in range(10):
        partners = device.partners(singles)
        singles = np.where(
            partners > 0, seen.delayed_counts / np.where(partners > 0, partners, 1), 0
        )
        singles /= singles.mean()
    rate = seen.delayed / (device.random_cells(singles) * effective_s)
    return _randoms(rate), replace(device, singles=singles)


def _randoms(per_s: float) -> Background:
    return Background(
        0.0, [0.0] * 3, [100.0] * 3, per_s
    )  # any width: the scatter source has strength 0


def _copy_background(path: Path, folder: Path, events: int, dropped: int) -> None:
    source = side_files.beside(path, ".background.npy")
    if not source.exists():
        (folder / "background.npy").unlink(missing_ok=True)  # of an earlier import
        return
    values = arrays.map_array(source, "background")
    if dropped:
        raise ValueError(
            f"{source}: {dropped} events of {path} lie on pairs without efficiency; remove them from both"
        )
    if (
        values.shape != (events,)
        or values.dtype.kind != "f"
        or not (np.isfinite(values) & (values >= 0)).all()
    ):
        raise ValueError(
            f"{source}: expected {events} numbers of at least 0, one an event, got {values.dtype} of {values.shape}"
        )
    with atomic(folder / "background.npy") as temporary:
        np.save(temporary, values.astype(np.float32))


def _write_images(folder: Path, grid: Grid, mu: np.ndarray, organs: np.ndarray | None) -> None:
    affine = nifti.grid_affine(tuple(grid.shape), tuple(grid.voxel_mm))
    nifti.write_plain(folder / "mu.nii.gz", mu, affine)
    # without labels all is background, so that a study's folder always holds the same files
    nifti.write_labels(
        folder / "organs.nii.gz", np.zeros(grid.shape) if organs is None else organs, affine
    )


def _bmi(exam: Any) -> float | None:
    if exam is None:
        return None
    p = exam.patient
    if p.patients_body_mass_index > 0:
        return float(p.patients_body_mass_index)
    return (
        float(p.patients_weight / p.patients_size**2)
        if p.patients_weight > 0 and p.patients_size > 0
        else None
    )


def _described(header: Any, seen: Seen, device: TableScanner) -> dict[str, Any]:
    scanner, others = header.scanner, seen.others
    return {
        "model": scanner.model_name,
        "module_types": len(scanner.scanner_geometry.replicated_modules),
        "energy_windows_kev": [
            np.asarray(e.edges).tolist() for e in scanner.event_energy_bin_edges
        ],
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
        "gantry_alignment": None
        if (a := scanner.gantry_alignment) is None
        else np.asarray(a.matrix).tolist(),
    }


def _not_used(header: Any, seen: Seen, dropped: int, background_given: bool) -> dict[str, int]:
    """Counts of what the file holds and reconstruction does not use."""
    others: Others = seen.others
    bed = others.bed is not None and not np.allclose(others.bed[0], ALIGNED)
    counts = {
        "single events": seen.singles,
        "singles histogram blocks": others.histograms,
        "external signal blocks": sum(others.signals.values()),
        "prompt events on pairs without efficiency": dropped,
        "delayed events (the background is given)": seen.delayed if background_given else 0,
        "bed position (images stay in the gantry's frame)": int(bed),
        "gantry alignment (images stay in the gantry's frame)": int(
            header.scanner.gantry_alignment is not None
        ),
        "non-detecting volumes": len(header.scanner.scanner_geometry.non_detecting_volumes or []),
    }
    return {name: count for name, count in counts.items() if count}
