"""A study folder to a PETSIRD file and what `read` expects beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..constants import FDG_HALF_LIFE_S
from ..io import arrays, nifti
from ..io.files import atomic, write_json
from ..listmode import study_folder
from ..listmode.events import CHUNK, EVENT
from ..scanner.cylinder import Scanner
from . import event_codec
from .side_files import NUMBERS, beside
from .stream import MappedStream, package, write_header
from .tiling import Tiling, scanner_information, tile

BLOCK_S = 1.0
INJECTED = np.datetime64(
    "2000-01-01T00:00:00", "ns"
)  # made up: a study keeps no date, only the time between
F18 = ("C-111A1", "SRT", "^18^Fluorine")


def export_study(
    folder: str | Path,
    path: str | Path,
    block_s: float = BLOCK_S,
    step: Callable[[float], None] = lambda share: None,
) -> int:
    """Write a study on a cylindrical scanner as PETSIRD, time blocks of about `block_s` s; return
    the bytes written.

    `step` is told the share of the events that each piece had. Raises ValueError for another kind
    of scanner, for times that do not fit in PETSIRD's milliseconds, and what reading the study
    raises.
    """
    study, path = study_folder.read(folder), Path(path)
    if path.suffix != ".petsird":
        raise ValueError(
            f"{path}: expected a name that ends in .petsird, as its side files are named after it"
        )
    if not isinstance(study.scanner, Scanner):
        raise ValueError(
            f"{folder}/scanner.json: only studies on a cylindrical scanner are written as PETSIRD"
        )
    tiling = tile(study.scanner)
    edges_ms, first = _blocks(study.meta, len(study.events), block_s)
    head = write_header(_header(study, tiling))
    size = len(head)
    with atomic(path) as temporary, open(temporary, "wb") as file:
        file.write(head)
        for piece in _pieces(study, tiling, edges_ms, first):
            for data, count in piece:
                file.write(data)
                size += len(data)
                step(count / max(len(study.events), 1))
        file.write(b"\0")
    _write_beside(study, path)
    return size + 1


def _blocks(meta: dict[str, Any], n_events: int, block_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Edges of the time blocks (blocks + 1,), ms, and the first event of each block.

    Events come in the order of time, equally often in equal amounts of decay.
    """
    scan_ms = round(meta["scan_s"] * 1e3)
    if not 0 < scan_ms < 1 << 32:
        raise ValueError(
            f"{meta['study']}: scan_s: expected 1 ms to 2^32 ms for PETSIRD, got {meta['scan_s']} s"
        )
    if not block_s > 0:
        raise ValueError(f"time blocks: expected a length above 0 s, got {block_s}")
    count = max(1, min(round(meta["scan_s"] / block_s), scan_ms))
    edges = np.round(np.linspace(0, scan_ms, count + 1)).astype(np.int64)
    gone = -np.expm1(-math.log(2) / meta["half_life_s"] * edges / 1e3)
    return edges, np.round(gone / gone[-1] * n_events).astype(np.int64)


def _pieces(
    study: study_folder.Acquisition, tiling: Tiling, edges_ms: np.ndarray, first: np.ndarray
) -> Iterator[list[tuple[bytes | memoryview, int]]]:
    """(bytes, events in them) of each time block, pieces of at most a chunk, encoded by two threads
    in order.
    """
    ids, half = tiling.ids(), tiling.scanner.tof_half_bins
    mapped = MappedStream(study.folder / "events.npy")  # whose pages can be let go
    size = len(study.events) * EVENT.itemsize
    begin = len(mapped.data) - size
    events = mapped.data[begin:].view(np.int32).reshape(-1, 3)

    def encode(
        task: tuple[bytes, int, int, bytes],
    ) -> tuple[list[tuple[bytes | memoryview, int]], int]:
        before, start, stop, after = task
        out = np.empty(event_codec.MOST_BYTES * (stop - start), np.uint8)
        used = event_codec.encode(events[start:stop], ids, half, out)
        return [(before, 0), (out[:used].data, stop - start), (after, 0)], stop

    tasks = _tasks(edges_ms, first)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(encode, task) for task in islice(tasks, 3)]
        while waiting:
            piece, stop = waiting.pop(0).result()
            yield piece
            mapped.release(begin + stop * EVENT.itemsize)
            waiting += [pool.submit(encode, task) for task in islice(tasks, 1)]


def _tasks(edges_ms: np.ndarray, first: np.ndarray) -> Iterator[tuple[bytes, int, int, bytes]]:
    """(bytes before, first event, last event + 1, bytes after) of each piece."""
    for k in range(len(first) - 1):
        start, stop = int(first[k]), int(first[k + 1])
        # one block in the stream, tag, interval, no singles, one row of one list of prompts
        before = (
            b"\1\0"
            + b"".join(varint(int(v)) for v in edges_ms[k : k + 2])
            + b"\0\1\1"
            + varint(stop - start)
        )
        for at in range(start, max(stop, start + 1), CHUNK):
            end = min(at + CHUNK, stop)
            after = b"\0\0\0" if end == stop else b""  # no delayeds, triples, quadruples
            yield before, at, end, after
            before = b""


def varint(value: int) -> bytes:
    """yardl's unsigned variable-length integer."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _header(study: study_folder.Acquisition, tiling: Tiling) -> Any:
    wheel, meta = package(), study.meta
    start = INJECTED + np.timedelta64(round(meta["scan_start_s"] * 1e9), "ns")
    drug = wheel.DICOMRadiopharmaceuticalInformation(
        radiopharmaceutical_start_date_time=wheel.DateTime(INJECTED),
        radiopharmaceutical_stop_date_time=wheel.DateTime(INJECTED),
        radionuclide_total_dose=float(meta["injected_mbq"]),
    )
    if abs(meta["half_life_s"] - FDG_HALF_LIFE_S) < 60:
        code = drug.radionuclide_code_sequence
        code.code_value, code.coding_scheme_designator, code.code_meaning = F18
    exam = wheel.ExamInformation(
        modality="PT",
        start_of_study=wheel.DateTime(start),
        start_of_acquisition=wheel.DateTime(start),
        patient=wheel.DICOMPatientInformation(
            patient_id=meta["study"], patients_weight=float(meta["weight_kg"]),
            patients_body_mass_index=float(meta.get("bmi") or 0.0),
        ),
        radiopharmaceuticals=[drug],
    )  # fmt: skip
    return wheel.Header(scanner=scanner_information(tiling, "tgdpet cylinder"), exam=exam)


def _write_beside(study: study_folder.Acquisition, path: Path) -> None:
    values = {key: study.meta[key] for key in NUMBERS}
    write_json(beside(path, ".json"), {**values, "background": study.meta["background"]})
    nifti.write_plain(beside(path, ".mu.nii.gz"), study.mu_per_cm, study.affine)
    organs, background = study.folder / "organs.nii.gz", study.folder / "background.npy"
    if organs.exists():
        nifti.write_labels(beside(path, ".organs.nii.gz"), *nifti.read_labels(organs))
    if background.exists():
        with atomic(beside(path, ".background.npy")) as temporary:
            np.save(temporary, arrays.map_array(background, "background"))
