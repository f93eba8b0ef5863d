"""PETSIRD's blocks beside events: external signals, bed, gantry, dead time, singles histograms."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numba as nb
import numpy as np

from .stream import Stream

SIGNAL, BED, GANTRY, DEAD_TIME, SINGLES = 1, 2, 3, 4, 5  # tags
SAME_MM = 1e-3  # positions of a bed or gantry that count as the same


@dataclass
class Others:
    """What these blocks said: signal blocks by id, the bed's one transform (1, 3, 4), the gantry's
    (module types, 3, 4), (start ms, stop ms, alive fraction of a pair) of each dead-time block, and
    the singles counted in histograms.
    """

    signals: Counter[int] = field(default_factory=Counter)
    bed: np.ndarray | None = None
    gantry: np.ndarray | None = None
    alive: list[tuple[int, int, float]] = field(default_factory=list)
    histograms: int = 0
    histogram_counts: int = 0


def read_block(stream: Stream, tag: int, others: Others, types: int) -> None:
    """Read the block whose tag, `tag`, lies just before the stream's position.

    `types` is the number of module types. Raises ValueError naming file and byte when the block is
    damaged or says what cannot be honoured: a bed or gantry that moves, dead time that differs
    between detectors.
    """
    at = stream.position
    start, stop = stream.uint32("a time in ms"), stream.uint32("a time in ms")
    if stop < start:
        raise stream.error(f"a block that ends at {start} ms or later", f"{stop} ms", at)
    if tag == SIGNAL:
        others.signals[stream.uint32("a signal's id")] += 1
        stream.floats(stream.count("signal values", 4))
    elif tag == BED:
        others.bed = _constant(stream, others.bed, _transforms(stream, 1), "bed")
    elif tag == GANTRY:
        if (n := stream.count("transforms", 48)) != types:
            raise stream.error(f"{types} gantry transforms, one a module type", n, at)
        others.gantry = _constant(stream, others.gantry, _transforms(stream, n), "gantry")
    elif tag == DEAD_TIME:
        others.alive.append((start, stop, _alive_fraction(stream)))
    else:
        others.histograms += 1
        others.histogram_counts += _histogram(stream) + _histogram(stream)


def _transforms(stream: Stream, n: int) -> np.ndarray:
    at = stream.position
    out = stream.floats(12 * n).reshape(n, 3, 4).astype(np.float64)
    turn = out[:, :, :3]
    with np.errstate(invalid="ignore", over="ignore"):
        rigid = (
            np.abs(turn @ turn.transpose(0, 2, 1) - np.eye(3)).max() < 1e-3
            and np.isfinite(out).all()
        )
    if not rigid:
        raise stream.error(
            "a rigid transformation (a rotation and a shift in mm)", out.tolist(), at
        )
    return out


def _constant(stream: Stream, before: np.ndarray | None, now: np.ndarray, what: str) -> np.ndarray:
    if before is not None and np.abs(now - before).max() > SAME_MM:
        raise ValueError(
            f"{stream.path}: byte {stream.position}: the {what} moves during the scan (from {before.tolist()} to "
            f"{now.tolist()}); only a {what} that stays in place is read: write a file for each position"
        )
    return now if before is None else before


def _alive_fraction(stream: Stream) -> float:
    """The alive time of a pair of detectors: both singles' fractions times that of their pair of
    modules.
    """
    at = stream.position
    singles = [
        stream.floats(stream.count("numbers", 4)) for _ in range(stream.count("module types"))
    ]
    pairs: list[np.ndarray] = []
    for _ in range(stream.count("module types")):
        for _ in range(stream.count("module types")):
            for _ in range(_array_size(stream)):
                pairs += [
                    stream.floats(stream.count("numbers", 4))
                    for _ in range(stream.count("modules"))
                ]
    return _uniform(stream, at, singles, "detectors") ** 2 * _uniform(
        stream, at, pairs, "pairs of modules"
    )


def _array_size(stream: Stream) -> int:
    """Number of elements of an array whose dimensions come next."""
    at, size = stream.position, 1
    for _ in range(stream.count("dimensions")):
        size *= stream.read_unsigned_varint()
    if size > stream.end - stream.position:
        raise stream.error("an array that fits in the bytes left", f"{size} elements", at)
    return size


def _uniform(stream: Stream, at: int, values: list[np.ndarray], what: str) -> float:
    every = np.concatenate(values) if values else np.ones(0)
    if every.size == 0:
        return 1.0
    low, high = float(every.min()), float(every.max())
    if not (low > 0 and high <= 1 + 1e-6):
        raise stream.error("alive-time fractions above 0 and at most 1", f"{low:g} to {high:g}", at)
    if high - low > 1e-6:
        raise ValueError(
            f"{stream.path}: byte {at}: alive-time fractions differ between {what} ({low:g} to {high:g}); only a dead "
            "time that is the same everywhere is read: put the differences into the detection efficiencies"
        )
    return low


def _histogram(stream: Stream) -> int:
    total, position = _sum_nested(np.asarray(stream.data), stream.position, stream.end)
    if total < 0:
        raise stream.error(
            "a singles histogram", "counts that do not fit in the bytes left", position
        )
    stream.position = position
    return int(total)


@nb.njit(cache=True, nogil=True)
def _sum_nested(buf, pos, end):  # type: ignore[no-untyped-def]
    """Sum of a vector of vectors of varints at `pos`: (sum, place behind); (-1, place) when
    damaged.
    """
    total = 0.0
    rows, pos = _size(buf, pos, end)
    if rows < 0 or rows > end - pos:
        return -1.0, pos
    for _ in range(rows):
        n, pos = _size(buf, pos, end)
        if n < 0 or n > end - pos:
            return -1.0, pos
        for _ in range(n):
            value, pos = _size(buf, pos, end)
            if value < 0:
                return -1.0, pos
            total += value
    return total, pos


@nb.njit(cache=True, nogil=True)
def _size(buf, pos, end):  # type: ignore[no-untyped-def]
    """A varint below 2^63 at `pos`; -1 when damaged."""
    value = np.int64(0)
    for k in range(9):
        if pos >= end:
            return np.int64(-1), pos
        byte = np.int64(buf[pos])
        pos += 1
        value |= (byte & 0x7F) << (7 * k)
        if byte < 0x80:
            return value, pos
    return np.int64(-1), pos
