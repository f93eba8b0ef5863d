"""A study folder to a PETSIRD file and what `read` expects beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..io import arrays, nifti
from ..io.files import atomic, write_json
from ..listmode import study_folder
from ..listmode.events import CHUNK, EVENT
from ..nuclides import FDG
from ..scanner.cylinder import Scanner
from . import event_codec
from .side_files import DOSE_AND_TIMES, F18_SRT_CODE, FDG_SRT_CODE, beside
from .stream import MappedStream, package, write_header
from .tiling import Tiling, scanner_information, tile
from .varint import varint_bytes

BLOCK_S = 1.0
# made up: a study keeps no date, only the time between
INJECTED = np.datetime64("2000-01-01T00:00:00", "ns")
PIECES_AHEAD = 3  # of two threads


class Piece(NamedTuple):
    """Events `start`..`stop`, and the bytes before and after theirs."""

    before: bytes
    start: int
    stop: int
    after: bytes


class Encoded(NamedTuple):
    """The bytes of a piece, and the events it holds, of which `stop` is the first not in it."""

    parts: tuple[bytes | memoryview, ...]
    n_events: int
    stop: int


def export_study(
    folder: str | Path,
    path: str | Path,
    block_s: float = BLOCK_S,
    on_progress: Callable[[float], None] = lambda share: None,
) -> int:
    """Write a study on a cylindrical scanner as PETSIRD, time blocks of about `block_s` s; return
    the bytes written.

    `on_progress` gets the share of the events that each piece had. Raises ValueError for another
    kind of scanner, for times that do not fit in PETSIRD's milliseconds, and what reading the study
    raises.
    """
    study = study_folder.read_study(folder)
    path = Path(path)
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
    n_events = max(len(study.events), 1)

    with atomic(path) as temporary, open(temporary, "wb") as file:
        file.write(head)
        for encoded in _encoded(study, tiling, _pieces(edges_ms, first)):
            for part in encoded.parts:
                file.write(part)
            on_progress(encoded.n_events / n_events)

        file.write(b"\0")  # no more blocks
        size = file.tell()

    _write_beside(study, path)
    return size


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

    n_blocks = round(meta["scan_s"] / block_s)
    n_blocks = max(1, min(n_blocks, scan_ms))
    edges_ms = np.linspace(0, scan_ms, n_blocks + 1)
    edges_ms = np.round(edges_ms).astype(np.int64)

    rate = math.log(2) / meta["half_life_s"]
    decayed = -np.expm1(-rate * edges_ms / 1e3)
    first = np.round(decayed / decayed[-1] * n_events)

    return edges_ms, first.astype(np.int64)


def _pieces(edges_ms: np.ndarray, first: np.ndarray) -> Iterator[Piece]:
    """The time blocks, in pieces of at most `CHUNK` events."""
    for k in range(len(first) - 1):
        start = int(first[k])
        stop = int(first[k + 1])
        start_ms = varint_bytes(int(edges_ms[k]))
        stop_ms = varint_bytes(int(edges_ms[k + 1]))
        # one block in the stream, tag, interval, no singles, one row of one list of prompts
        before = b"\1\0" + start_ms + stop_ms + b"\0\1\1" + varint_bytes(stop - start)

        for at in range(start, max(stop, start + 1), CHUNK):
            end = min(at + CHUNK, stop)
            after = b"\0\0\0" if end == stop else b""  # no delayeds, triples, quadruples
            yield Piece(before, at, end, after)
            before = b""


def _encoded(
    study: study_folder.Acquisition, tiling: Tiling, pieces: Iterator[Piece]
) -> Iterator[Encoded]:
    """The bytes of the pieces, in order, encoded by two threads."""
    ids = tiling.ids()
    half = tiling.scanner.tof_half_bins

    # through a map whose pages can be let go
    mapped = MappedStream(study.folder / "events.npy")
    first_byte = len(mapped.data) - len(study.events) * EVENT.itemsize
    events = mapped.data[first_byte:].view(np.int32).reshape(-1, 3)

    def encode(piece: Piece) -> Encoded:
        part = events[piece.start : piece.stop]
        buf = np.empty(event_codec.MOST_EVENT_BYTES * len(part), np.uint8)
        used = event_codec.encode(part, ids, half, buf)

        parts = (piece.before, buf[:used].data, piece.after)
        return Encoded(parts, len(part), piece.stop)

    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(encode, piece) for piece in islice(pieces, PIECES_AHEAD)]
        while waiting:
            encoded = waiting.pop(0).result()
            yield encoded

            mapped.release(first_byte + encoded.stop * EVENT.itemsize)
            waiting += [pool.submit(encode, piece) for piece in islice(pieces, 1)]


def _header(study: study_folder.Acquisition, tiling: Tiling) -> Any:
    wheel = package()
    meta = study.meta
    start = INJECTED + np.timedelta64(round(meta["scan_start_s"] * 1e9), "ns")

    drug = wheel.DICOMRadiopharmaceuticalInformation(
        radiopharmaceutical_start_date_time=wheel.DateTime(INJECTED),
        radiopharmaceutical_stop_date_time=wheel.DateTime(INJECTED),
        radionuclide_total_dose=float(meta["injected_mbq"]),
    )
    if study_folder.nuclide_of(meta) == "F18":
        code = drug.radionuclide_code_sequence
        code.code_value = F18_SRT_CODE
        code.coding_scheme_designator = "SRT"
        code.code_meaning = "^18^Fluorine"
    if study_folder.tracer_of(meta) == FDG:
        code = drug.radiopharmaceutical_code_sequence
        code.code_value = FDG_SRT_CODE
        code.coding_scheme_designator = "SRT"
        code.code_meaning = "Fluorodeoxyglucose F^18^"

    patient = wheel.DICOMPatientInformation(
        patient_id=meta["study"],
        patients_weight=float(meta["weight_kg"]),
        patients_body_mass_index=float(meta.get("bmi") or 0.0),
    )
    exam = wheel.ExamInformation(
        modality="PT",
        start_of_study=wheel.DateTime(start),
        start_of_acquisition=wheel.DateTime(start),
        patient=patient,
        radiopharmaceuticals=[drug],
    )

    return wheel.Header(scanner=scanner_information(tiling, "tgdpet cylinder"), exam=exam)


def _write_beside(study: study_folder.Acquisition, path: Path) -> None:
    """Write the side files."""
    values = {key: study.meta[key] for key in DOSE_AND_TIMES}
    values["tracer"] = study_folder.tracer_of(study.meta)
    values["nuclide"] = study_folder.nuclide_of(study.meta)
    values["background"] = study.meta["background"]
    write_json(beside(path, ".json"), values)
    nifti.write_plain(beside(path, ".mu.nii.gz"), study.mu_per_cm, study.affine)

    organs = study.folder / "organs.nii.gz"
    if organs.exists():
        labels, affine = nifti.read_labels(organs)
        nifti.write_labels(beside(path, ".organs.nii.gz"), labels, affine)

    background = study.folder / "background.npy"
    if background.exists():
        of_events = arrays.map_array(background, "background")
        arrays.write_array(beside(path, ".background.npy"), of_events)
