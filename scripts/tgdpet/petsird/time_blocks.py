"""The time blocks of a PETSIRD file: prompts piece by piece, everything else counted, kept or
refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from . import decoder_state, event_codec, non_event_blocks
from .decoder_state import TofNumbers
from .stream import MappedStream, Stream
from .varint import TOO_LONG, TRUNCATED

BLOCKS_AT_ONCE = 1 << 16  # event blocks whose intervals are kept until they are united


@dataclass(frozen=True)
class Limits:
    """What ids and TOF indices are checked against, and how they are numbered here.

    `offsets` and `sizes` (module types,): first id and number of detection bins of each type;
    `tof_bins` of every coincidence; a file's TOF index k is our `tof_scale * k - tof_shift`.
    """

    offsets: np.ndarray
    sizes: np.ndarray
    tof_bins: int
    tof_scale: int
    tof_shift: int

    @property
    def n_detectors(self) -> int:
        """Number of detection bins."""
        return int(self.sizes.sum())


@dataclass
class Seen:
    """What the blocks held beside prompts.

    `position`: the byte reached; `spans_ms` (n, 2): union of the event blocks' intervals;
    `delayed_counts` (detectors,): delayeds at each.
    """

    delayed_counts: np.ndarray
    spans_ms: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    position: int = 0
    prompts: int = 0
    delayed: int = 0
    singles: int = 0
    unordered: int = 0
    events_blocks: int = 0
    others: non_event_blocks.NonEvents = field(default_factory=non_event_blocks.NonEvents)


def walk(
    path: Path, mapped: MappedStream, start: int, limits: Limits, seen: Seen, size: int
) -> Iterator[np.ndarray]:
    """Yield the prompts (n, 3) int32 of (det0, det1, tof), at most `size` at a time, in the order
    of the file.

    `start` is the byte behind the header; `seen` is filled on the way and complete at the end.
    Raises ValueError with file, byte, what was expected and what came.
    """
    state = decoder_state.new_state(start)
    spans = np.empty((BLOCKS_AT_ONCE, 2), np.uint32)
    tof = TofNumbers(limits.tof_bins, limits.tof_scale, limits.tof_shift)
    code = decoder_state.FULL

    while code != decoder_state.DONE:
        prompts = np.empty((size, 3), np.int32)
        code, n = event_codec.decode(
            mapped.data,
            state,
            prompts,
            spans,
            limits.offsets,
            limits.sizes,
            tuple(tof),
            seen.delayed_counts,
        )
        if code < 0:
            raise ValueError(f"{path}: byte {state['bad_byte']}: {_complaint(code, state, limits)}")

        _note(seen, state, spans, n)
        if n:
            yield prompts[:n]

        if code == decoder_state.OTHER_BLOCK:
            stream = Stream(path, mapped.data, int(state["position"]))
            tag = int(mapped.data[stream.position - 1])
            non_event_blocks.read_block(stream, tag, seen.others, len(limits.sizes))
            state["position"] = stream.position

        mapped.release(int(state["position"]))


def _note(seen: Seen, state: np.void, spans: np.ndarray, n_prompts: int) -> None:
    """Bring `seen` up to the decoder's state, and empty `spans`."""
    seen.position = int(state["position"])
    seen.prompts += n_prompts
    seen.delayed = int(state["delayed"])
    seen.singles = int(state["singles"])
    seen.unordered = int(state["unordered"])

    n_blocks = int(state["n_spans"])
    seen.events_blocks += n_blocks
    if n_blocks:
        new = spans[:n_blocks].astype(np.int64)
        seen.spans_ms = _union(np.concatenate([seen.spans_ms, new]))
    state["n_spans"] = 0


def _union(spans: np.ndarray) -> np.ndarray:
    """Union of intervals (n, 2) that are sorted by their start."""
    stop = np.maximum.accumulate(spans[:, 1])
    after_a_gap = spans[1:, 0] > stop[:-1]
    first = np.flatnonzero(np.append(True, after_a_gap))
    last = np.append(first[1:], len(spans)) - 1

    return np.stack([spans[first, 0], stop[last]], axis=1)


def _complaint(code: int, state: np.void, limits: Limits) -> str:
    """What is wrong, in words."""
    value = int(state["bad_value"])
    limit = int(state["bad_limit"])
    index = int(state["bad_field"])
    fields = decoder_state.FIELDS
    name = fields[index] if 0 <= index < len(fields) else "time blocks"
    types = len(limits.sizes)

    return {
        TRUNCATED: f"expected more {name}, got the end of the file (truncated or damaged)",
        TOO_LONG: (
            "expected an integer below 2^32 in at most five bytes, got a longer one (damaged)"
        ),
        decoder_state.BAD_TAG: f"expected the tag of a time block, 0 to 5, got {value}",
        decoder_state.BAD_COUNT: (
            f"expected a count of at most {limit} {name}, which the bytes left can hold, "
            f"got {value}"
        ),
        decoder_state.BAD_ROWS: (
            f"expected at most {limit} lists of {name} ({types} module types), got {value}"
        ),
        decoder_state.BAD_ID: f"expected a detection bin below {limit} in {name}, got {value}",
        decoder_state.BAD_TOF: f"expected a TOF index below {limit} in {name}, got {value}",
        decoder_state.BAD_TIME: (
            f"expected a time block at {limit} ms or later, as time does not run backwards, "
            f"got {value} ms"
        ),
        decoder_state.MULTIPLES: (
            f"{value} {name}; only coincidences of two are read, remove them or split them "
            "into pairs"
        ),
        decoder_state.TRAILING: (
            f"expected the end of the file behind the last time block, got {value} more bytes"
        ),
    }[code]
