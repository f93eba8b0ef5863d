"""State of the decoder of PETSIRD's event blocks: what it needs to resume, and why it stopped."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

STATE_FIELDS = (
    "position",  # the next byte
    "phase",
    "blocks_left",  # in this chunk of the stream
    "field",  # of the event block, an index of FIELDS
    "rows_left",
    "columns_left",
    "type0",  # module types of the list
    "type1",
    "events_left",  # in this list
    "clock_ms",
    "n_spans",
    "singles",
    "delayed",
    "unordered",
    "bad_byte",  # where, what, the limit, and in which field something is wrong
    "bad_value",
    "bad_limit",
    "bad_field",
)
STATE = np.dtype([(name, np.int64) for name in STATE_FIELDS])

# phases
IN_STREAM, IN_CHUNK, IN_BLOCK = range(3)

FIELDS = ("single events", "prompt events", "delayed events", "triple events", "quadruple events")
SINGLE_FIELD, PROMPT_FIELD, DELAYED_FIELD, _, QUADRUPLE_FIELD = range(5)

# why the decoder stopped: something to do, the end, or what is wrong at `bad_byte`
FULL, OTHER_BLOCK, DONE = 0, 1, 2
BAD_TAG = -3  # below TRUNCATED and TOO_LONG
BAD_COUNT = -4
BAD_ROWS = -5
BAD_ID = -6
BAD_TOF = -7
BAD_TIME = -8
MULTIPLES = -9
TRAILING = -10


class TofNumbers(NamedTuple):
    """A file's TOF index k, below `n_bins`, is our `scale * k - shift`."""

    n_bins: int
    scale: int
    shift: int


class TypePair(NamedTuple):
    """First ids and numbers of detection bins of two module types."""

    offset0: int
    offset1: int
    size0: int
    size1: int


def new_state(position: int) -> np.void:
    """The decoder's state at the first byte of the time blocks."""
    state: np.void = np.zeros(1, STATE)[0]
    state["position"] = position

    return state
