"""Events of a list mode: an array on disk, memory-mapped, written and read in parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ..io.arrays import ArrayWriter, map_array
from ..io.files import atomic
from ..scanner.cylinder import AnyScanner

# 12 bytes an event; tof counts bins from the LOR's middle towards detector 1.
EVENT = np.dtype([("det0", "<u4"), ("det1", "<u4"), ("tof", "<i4")])
CHUNK = 1 << 20


def open_events(path: str | Path, scanner: AnyScanner | None = None) -> np.ndarray:
    """Memory-map a list mode (n,) of `EVENT`; with `scanner`, check that all ids exist on it.

    Raises FileNotFoundError or ValueError with the file, what was expected and what came.
    """
    events = map_array(path, "list mode")

    if events.dtype != EVENT or events.ndim != 1:
        raise ValueError(
            f"{path}: expected a list of {EVENT}, got {events.dtype} of shape {events.shape}"
        )

    if scanner is not None:
        _check_ids(events, scanner, path)

    return events


def write_events(path: str | Path, parts: Iterable[np.ndarray]) -> int:
    """Write a list mode part by part (memory stays at one part); return the number of events."""
    with atomic(path) as temporary:
        return write_parts(temporary, parts)


def write_parts(path: Path, parts: Iterable[np.ndarray]) -> int:
    """As `write_events`, in place: for a file that its writer renames when more is known."""
    n_events = 0

    with open(path, "wb") as file:
        writer = ArrayWriter(file, EVENT)

        for events in parts:
            writer.append(events)
            n_events += len(events)

        writer.finish((n_events,))

    return n_events


def chunks(events: np.ndarray, size: int = CHUNK) -> Iterator[tuple[int, np.ndarray]]:
    """Walk over a memory-mapped list mode: (index of the first event, at most `size` events)."""
    for start in range(0, len(events), size):
        yield start, part(events, start, size)


def part(array: np.ndarray, start: int, size: int) -> np.ndarray:
    """array[start : start + size] of an array on one axis.

    Of a memory map through a map of its own, so that what was read leaves memory.
    """
    n = max(0, min(size, len(array) - start))
    if n == 0 or not isinstance(array, np.memmap) or array.ndim != 1 or array.filename is None:
        return array[start : start + n]

    # a view of a map, whose offset is the whole map's
    if Path(array.filename).stat().st_size != array.offset + array.nbytes:
        return array[start : start + n]

    offset_bytes = array.offset + start * array.itemsize
    return np.memmap(array.filename, array.dtype, "r", offset_bytes, (n,))


def _check_ids(events: np.ndarray, scanner: AnyScanner, path: str | Path) -> None:
    n_detectors = scanner.n_detectors
    half = scanner.tof_half_bins

    for start, chunk in chunks(events):
        bad = (chunk["det0"] >= n_detectors) | (chunk["det1"] >= n_detectors)
        bad |= chunk["tof"] > half
        bad |= chunk["tof"] < -half  # not abs(): the smallest int32 has no positive

        if bad.any():
            i = int(np.argmax(bad))
            raise ValueError(
                f"{path}: event {start + i} = {chunk[i]}: detector ids must be below "
                f"{n_detectors}, TOF bins within +-{half}"
            )
