"""The bytes of PETSIRD's event blocks: compiled decoder and encoder of yardl's variable-length
integers.

An event block is a tag 0, its interval (start, stop in ms), then nested vectors, each a count and
its items: singles by module type; prompts and delayeds by pair of module types; triples and
quadruples by three and four types. All are unsigned varints: seven bits a byte, lowest first, the
top bit set on all but the last.

The decoder is a state machine that stops where its output is full and resumes from `state` (see
`decoder_state`), so that a piece of any size can be decoded of a list of any length. Every byte
is checked against the file's end.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from ..runtime.compiled import njit
from .decoder_state import (
    BAD_COUNT,
    BAD_ID,
    BAD_ROWS,
    BAD_TAG,
    BAD_TIME,
    BAD_TOF,
    DELAYED_FIELD,
    DONE,
    FULL,
    IN_BLOCK,
    IN_CHUNK,
    IN_STREAM,
    MULTIPLES,
    OTHER_BLOCK,
    PROMPT_FIELD,
    QUADRUPLE_FIELD,
    SINGLE_FIELD,
    TRAILING,
    TofNumbers,
    TypePair,
)
from .varint import TRUNCATED, put_varint, read_varint

LAST_TAG = 5
LEAST_SINGLE_BYTES = 2  # two varints of one byte
LEAST_EVENT_BYTES = 3
MOST_EVENT_BYTES = 15  # three varints of five


@nb.njit(inline="always")
def _fail(state, code, at, value, limit):  # type: ignore[no-untyped-def]
    state.bad_byte = at
    state.bad_value = value
    state.bad_limit = limit
    return code


@nb.njit(inline="always")
def _number(buf, end, state, limit, item_bytes, code):  # type: ignore[no-untyped-def]
    """The number at the state's position, which moves behind it; a negative code when it is
    damaged, above `limit`, or the count of more items of `item_bytes` (if above 0) than the bytes
    left can hold.
    """
    at = state.position
    value, pos = read_varint(buf, at, end)
    if value < 0:
        return _fail(state, value, at, 0, 0)

    if item_bytes > 0:
        limit = (end - pos) // item_bytes
    if value > limit:
        return _fail(state, code, at, value, limit)

    state.position = pos
    return value


@nb.njit(nogil=True)
def _coincidences(buf, end, events, n, state, pair, tof_numbers, counts):  # type: ignore[no-untyped-def]
    """`n` coincidences into `events` (n, 3), or, where `counts` is not empty, into its counts by
    detector.
    """
    pos = state.position
    unordered = 0

    for i in range(n):
        at = pos
        first, pos = read_varint(buf, pos, end)
        if first < 0:
            return _fail(state, first, at, 0, 0)
        second, pos = read_varint(buf, pos, end)
        if second < 0:
            return _fail(state, second, at, 0, 0)
        tof, pos = read_varint(buf, pos, end)
        if tof < 0:
            return _fail(state, tof, at, 0, 0)

        if first >= pair.size0:
            return _fail(state, np.int64(BAD_ID), at, first, pair.size0)
        if second >= pair.size1:
            return _fail(state, np.int64(BAD_ID), at, second, pair.size1)
        if tof >= tof_numbers.n_bins:
            return _fail(state, np.int64(BAD_TOF), at, tof, tof_numbers.n_bins)

        first += pair.offset0
        second += pair.offset1
        unordered += first < second

        if counts.size:
            counts[first] += 1
            counts[second] += 1
        else:
            events[i, 0] = first
            events[i, 1] = second
            events[i, 2] = tof_numbers.scale * tof - tof_numbers.shift

    state.position = pos
    state.unordered += unordered
    return np.int64(n)


@njit(nogil=True)
def _skip_singles(buf, end, n, state, size):  # type: ignore[no-untyped-def]
    """Walk over `n` singles of a module type with `size` detection bins."""
    pos = state.position

    for _ in range(n):
        at = pos
        detector, pos = read_varint(buf, pos, end)
        if detector < 0:
            return _fail(state, detector, at, 0, 0)
        if detector >= size:
            return _fail(state, np.int64(BAD_ID), at, detector, size)

        time, pos = read_varint(buf, pos, end)
        if time < 0:
            return _fail(state, time, at, 0, 0)

    state.position = pos
    return np.int64(n)


@njit(nogil=True)
def _no_multiples(buf, end, state, depth, types):  # type: ignore[no-untyped-def]
    """Walk over the nested counts of triples or quadruples, all of whose lists must be empty."""
    left = np.zeros(depth, np.int64)
    left[0] = 1
    level = 0

    while level >= 0:
        if left[level] == 0:
            level -= 1
            continue

        left[level] -= 1
        innermost = level == depth - 1
        n = _number(buf, end, state, types, 1 if innermost else 0, BAD_ROWS)
        if n < 0:
            return n
        if innermost and n > 0:
            return _fail(state, np.int64(MULTIPLES), state.position, n, 0)
        if not innermost and n > 0:
            level += 1
            left[level] = n

    return np.int64(0)


@njit(nogil=True)
def _open_block(buf, end, state, spans):  # type: ignore[no-untyped-def]
    """Tag and interval of the next block: 0 inside an event block, OTHER_BLOCK in front of another
    one's content.
    """
    at = state.position
    if at >= end:
        return _fail(state, np.int64(TRUNCATED), at, 0, 0)

    tag = np.int64(buf[at])
    if tag > LAST_TAG:
        return _fail(state, np.int64(BAD_TAG), at, tag, LAST_TAG)
    state.position = at + 1
    if tag > 0:
        return np.int64(OTHER_BLOCK)

    most_ms = np.int64(0xFFFFFFFF)
    start = _number(buf, end, state, most_ms, 0, BAD_COUNT)
    if start < 0:
        return start
    stop = _number(buf, end, state, most_ms, 0, BAD_COUNT)
    if stop < 0:
        return stop

    if stop < start or start < state.clock_ms:
        bad = start if stop >= start else stop
        return _fail(state, np.int64(BAD_TIME), at, bad, max(start, state.clock_ms))

    state.clock_ms = start
    spans[state.n_spans, 0] = start
    spans[state.n_spans, 1] = stop
    state.n_spans += 1

    state.phase = IN_BLOCK
    state.field = -1
    state.rows_left = 0
    state.columns_left = 0
    return np.int64(0)


@njit(nogil=True)
def _next_list(buf, end, state, types):  # type: ignore[no-untyped-def]
    """Step to the next list of the open block: sets its number of events and its module types;
    leaves the block at its end.
    """
    # a list of singles, of one module type, or of coincidences, of two
    if state.field == SINGLE_FIELD and state.rows_left > 0:
        state.rows_left -= 1
        state.type0 += 1
        n = _number(buf, end, state, np.int64(0), LEAST_SINGLE_BYTES, BAD_COUNT)
        if n > 0:
            state.events_left = n
        return min(n, 0)

    if state.columns_left > 0:
        state.columns_left -= 1
        state.type1 += 1
        n = _number(buf, end, state, np.int64(0), LEAST_EVENT_BYTES, BAD_COUNT)
        if n > 0:
            state.events_left = n
        return min(n, 0)

    # the lists of the next first module type, with each second one up to it
    if state.rows_left > 0:
        state.rows_left -= 1
        state.type0 += 1
        state.type1 = -1
        n = _number(buf, end, state, state.type0 + 1, 0, BAD_ROWS)
        state.columns_left = max(n, 0)
        return min(n, 0)

    state.field += 1
    if state.field <= DELAYED_FIELD:
        n = _number(buf, end, state, types, 0, BAD_ROWS)
        state.rows_left = max(n, 0)
        state.type0 = -1
        return min(n, 0)
    if state.field <= QUADRUPLE_FIELD:
        return _no_multiples(buf, end, state, state.field + 1, types)

    state.phase = IN_CHUNK
    return np.int64(0)


@njit(nogil=True)
def decode(buf, state, events, spans, offsets, sizes, tof_fields, delayed):  # type: ignore[no-untyped-def]
    """Decode until `events` (n, 3) int32 or `spans` (m, 2) is full or something else comes: (why it
    stopped, events).

    `buf` is the file, uint8; `offsets` and `sizes` (module types,) give the first id and the number
    of detection bins of each type; `delayed` counts delayeds by detector. `state` is `new_state` at
    the first call; `tof_fields` are those of `TofNumbers` in a plain tuple, as numba's cache names
    the classes of arguments and fails to load where one was renamed.
    """
    tof_numbers = TofNumbers(*tof_fields)
    end = np.int64(buf.size)
    no_counts = np.zeros(0, np.int64)
    n = 0
    budget = events.shape[0]  # work of one call, whatever the lists hold

    while True:
        if state.events_left == 0:
            state.bad_field = state.field if state.phase == IN_BLOCK else -1

        if state.phase == IN_STREAM:
            blocks = _number(buf, end, state, np.int64(0), 1, BAD_COUNT)
            if blocks < 0:
                return blocks, n
            if blocks == 0:
                left = end - state.position
                if left != 0:
                    return _fail(state, np.int64(TRAILING), state.position, left, 0), n
                return np.int64(DONE), n

            state.blocks_left = blocks
            state.phase = IN_CHUNK

        elif state.phase == IN_CHUNK:
            if state.blocks_left == 0:
                state.phase = IN_STREAM
                continue
            if state.n_spans == spans.shape[0]:
                return np.int64(FULL), n

            state.blocks_left -= 1
            code = _open_block(buf, end, state, spans)
            if code != 0:
                return code, n

        elif state.events_left == 0:
            code = _next_list(buf, end, state, offsets.size)
            if code < 0:
                state.bad_field = state.field  # of the list it stepped to
                return code, n

        else:
            take = min(state.events_left, budget)
            if take == 0:
                return np.int64(FULL), n

            a = state.type0
            b = state.type1
            if state.field == SINGLE_FIELD:
                code = _skip_singles(buf, end, take, state, sizes[a])
                state.singles += take
            else:
                pair = TypePair(offsets[a], offsets[b], sizes[a], sizes[b])
                prompt = state.field == PROMPT_FIELD
                counts = no_counts if prompt else delayed
                code = _coincidences(buf, end, events[n:], take, state, pair, tof_numbers, counts)
                if prompt:
                    n += take
                else:
                    state.delayed += take

            if code < 0:
                return code, n
            state.events_left -= take
            budget -= take


@njit(nogil=True)
def encode(events, ids, tof_half_bins, buf):  # type: ignore[no-untyped-def]
    """Write `events` (n, 3) int32 of (det0, det1, tof) into `buf` (at least 15 n) uint8; return the
    bytes used.

    `ids` maps our detectors to PETSIRD's detection bins; the larger one goes first, and the TOF
    index, counted from 0 at -`tof_half_bins`, turns with it.
    """
    pos = 0

    for i in range(events.shape[0]):
        first = ids[events[i, 0]]
        second = ids[events[i, 1]]
        tof = np.int64(events[i, 2])
        if first < second:
            first, second = second, first
            tof = -tof

        pos = put_varint(buf, pos, np.int64(first))
        pos = put_varint(buf, pos, np.int64(second))
        pos = put_varint(buf, pos, tof + tof_half_bins)

    return pos
