"""PETSIRD's blocks beside events: external signals, bed, gantry, dead time, singles histograms."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from ..runtime.compiled import njit
from .stream import Stream

# tags; 0 is that of an event block
SIGNAL_TAG = 1
BED_TAG = 2
GANTRY_TAG = 3
DEAD_TIME_TAG = 4  # 5, the last, is that of a singles histogram

STILL_MM = 1e-3  # positions of a bed or gantry this near count as the same
RIGID = 1e-3  # deviation of a rotation's inverse from its transpose
SAME_FRACTION = 1e-6  # alive-time fractions this near count as the same
TRANSFORM_BYTES = 48


@dataclass
class NonEvents:
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


def read_block(stream: Stream, tag: int, others: NonEvents, types: int) -> None:
    """Read the block whose tag, `tag`, lies just before the stream's position.

    `types` is the number of module types. Raises ValueError naming file and byte when the block is
    damaged or says what cannot be honoured: a bed or gantry that moves, dead time that differs
    between detectors.
    """
    at = stream.position
    start_ms = stream.uint32("a time in ms")
    stop_ms = stream.uint32("a time in ms")
    if stop_ms < start_ms:
        raise stream.error(f"a block that ends at {start_ms} ms or later", f"{stop_ms} ms", at)

    if tag == SIGNAL_TAG:
        others.signals[stream.uint32("a signal's id")] += 1
        stream.floats(stream.count("signal values", 4))

    elif tag == BED_TAG:
        others.bed = _constant(stream, others.bed, _transforms(stream, 1), "bed")

    elif tag == GANTRY_TAG:
        n = stream.count("transforms", TRANSFORM_BYTES)
        if n != types:
            raise stream.error(f"{types} gantry transforms, one a module type", n, at)
        others.gantry = _constant(stream, others.gantry, _transforms(stream, n), "gantry")

    elif tag == DEAD_TIME_TAG:
        others.alive.append((start_ms, stop_ms, _alive_fraction(stream)))

    else:  # by detection bin, then by singles unit
        others.histograms += 1
        others.histogram_counts += _histogram(stream) + _histogram(stream)


def _transforms(stream: Stream, n: int) -> np.ndarray:
    """`n` rigid transformations, (n, 3, 4) float64."""
    at = stream.position
    transforms = stream.floats(12 * n).reshape(n, 3, 4).astype(np.float64)
    turn = transforms[:, :, :3]

    with np.errstate(invalid="ignore", over="ignore"):
        deviation = np.abs(turn @ turn.transpose(0, 2, 1) - np.eye(3)).max()
    if not (deviation < RIGID and np.isfinite(transforms).all()):
        raise stream.error(
            "a rigid transformation (a rotation and a shift in mm)", transforms.tolist(), at
        )

    return transforms


def _constant(stream: Stream, before: np.ndarray | None, now: np.ndarray, name: str) -> np.ndarray:
    """The transformation of a bed or gantry, which must be the one before."""
    if before is None:
        return now

    if np.abs(now - before).max() > STILL_MM:
        raise ValueError(
            f"{stream.path}: byte {stream.position}: the {name} moves during the scan "
            f"(from {before.tolist()} to {now.tolist()}); only a {name} that stays in place is "
            "read: write a file for each position"
        )
    return before


def _alive_fraction(stream: Stream) -> float:
    """The alive time of a pair of detectors: both singles' fractions times that of their pair of
    modules.
    """
    at = stream.position
    singles = [_numbers(stream) for _ in range(stream.count("module types"))]

    pairs: list[np.ndarray] = []
    for _ in range(stream.count("module types")):
        for _ in range(stream.count("module types")):
            for _ in range(_array_size(stream)):
                n_modules = stream.count("modules")
                pairs += [_numbers(stream) for _ in range(n_modules)]

    single_fraction = _uniform(stream, at, singles, "detectors")
    pair_fraction = _uniform(stream, at, pairs, "pairs of modules")
    return single_fraction**2 * pair_fraction


def _numbers(stream: Stream) -> np.ndarray:
    return stream.floats(stream.count("numbers", 4))


def _array_size(stream: Stream) -> int:
    """Number of elements of an array whose dimensions come next."""
    at = stream.position
    size = 1

    for _ in range(stream.count("dimensions")):
        size *= stream.read_unsigned_varint()

    if size > stream.end - stream.position:
        raise stream.error("an array that fits in the bytes left", f"{size} elements", at)
    return size


def _uniform(stream: Stream, at: int, values: list[np.ndarray], units: str) -> float:
    """The one alive-time fraction that all values are; 1 without values."""
    fractions = np.concatenate(values) if values else np.ones(0)
    if fractions.size == 0:
        return 1.0

    low = float(fractions.min())
    high = float(fractions.max())
    if not (low > 0 and high <= 1 + SAME_FRACTION):
        raise stream.error("alive-time fractions above 0 and at most 1", f"{low:g} to {high:g}", at)
    if high - low > SAME_FRACTION:
        raise ValueError(
            f"{stream.path}: byte {at}: alive-time fractions differ between {units} ({low:g} to "
            f"{high:g}); only a dead time that is the same everywhere is read: put the differences "
            "into the detection efficiencies"
        )

    return low


def _histogram(stream: Stream) -> int:
    """Sum of a histogram's counts."""
    total, position = _sum_nested(np.asarray(stream.data), stream.position, stream.end)
    if total < 0:
        raise stream.error(
            "a singles histogram", "counts that do not fit in the bytes left", position
        )

    stream.position = position
    return int(total)


@njit(nogil=True)
def _sum_nested(buf, pos, end):  # type: ignore[no-untyped-def]
    """Sum of a vector of vectors of varints at `pos`: (sum, position behind); (-1, position) when
    damaged.
    """
    total = 0.0
    rows, pos = _long_varint(buf, pos, end)
    if rows < 0 or rows > end - pos:
        return -1.0, pos

    for _ in range(rows):
        n, pos = _long_varint(buf, pos, end)
        if n < 0 or n > end - pos:
            return -1.0, pos

        for _ in range(n):
            value, pos = _long_varint(buf, pos, end)
            if value < 0:
                return -1.0, pos
            total += value

    return total, pos


@njit(nogil=True)
def _long_varint(buf, pos, end):  # type: ignore[no-untyped-def]
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
