"""The bytes of PETSIRD's event blocks: compiled decoder and encoder of yardl's variable-length
integers.

An event block is a tag 0, its interval (start, stop in ms), then nested vectors, each a count and
its items: singles by module type; prompts and delayeds by pair of module types; triples and
quadruples by three and four types. All are unsigned varints: seven bits a byte, lowest first, the
top bit set on all but the last.

The decoder is a state machine that stops where its output is full and goes on from `state` (int64,
indices below), so that a piece of any size can be decoded of a list of any length. Every byte is
checked against the file's end.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from .varint import TRUNCATED, put, varint

# indices into the decoder's state
POS, PHASE, ITEMS, FIELD, ROWS, COLS, TYPE0, TYPE1, LEFT, CLOCK = range(10)
SPANS, SINGLES, DELAYED, UNORDERED, BAD_AT, BAD_VALUE, BAD_LIMIT, BAD_FIELD = range(10, 18)
STATE_SIZE = 18
# phases
CHUNK, TAG, BLOCK = range(3)
# why the decoder stopped: something to do, the end, or what is wrong at byte BAD_AT
FULL, OTHER, DONE = 0, 1, 2
BAD_TAG, BAD_COUNT, BAD_ROWS, BAD_ID, BAD_TOF, BAD_TIME, MULTIPLES, TRAILING = range(
    -3, -11, -1
)  # and TRUNCATED ...

EVENT_BYTES = 3  # an event has at least three varints of one byte, a single two
MOST_BYTES = 15  # and at most three of five
FIELDS = ("single events", "prompt events", "delayed events", "triple events", "quadruple events")


@nb.njit(inline="always")
def _fail(state, code, at, value, limit):  # type: ignore[no-untyped-def]
    state[BAD_AT], state[BAD_VALUE], state[BAD_LIMIT] = at, value, limit
    return code


@nb.njit(inline="always")
def _number(buf, end, state, limit, item_bytes, code):  # type: ignore[no-untyped-def]
    """The number at POS, which moves on; a negative code when it is damaged, above `limit`, or the
    count of more items of `item_bytes` (if above 0) than the bytes left can hold.
    """
    at = state[POS]
    value, pos = varint(buf, at, end)
    if value < 0:
        return _fail(state, value, at, 0, 0)
    if item_bytes > 0:
        limit = (end - pos) // item_bytes
    if value > limit:
        return _fail(state, code, at, value, limit)
    state[POS] = pos
    return value


@nb.njit(cache=True, nogil=True)
def _coincidences(buf, end, out, n, state, limits, counts):  # type: ignore[no-untyped-def]
    """`n` coincidences into `out` (n, 3), or, where `counts` is not empty, into its counts by
    detector.
    """
    off0, off1, most0, most1, bins, scale, shift = limits
    pos, unordered = state[POS], 0
    for i in range(n):
        at = pos
        first, pos = varint(buf, pos, end)
        if first < 0:
            return _fail(state, first, at, 0, 0)
        second, pos = varint(buf, pos, end)
        if second < 0:
            return _fail(state, second, at, 0, 0)
        tof, pos = varint(buf, pos, end)
        if tof < 0:
            return _fail(state, tof, at, 0, 0)
        if first >= most0 or second >= most1:
            bad, most = (first, most0) if first >= most0 else (second, most1)
            return _fail(state, np.int64(BAD_ID), at, bad, most)
        if tof >= bins:
            return _fail(state, np.int64(BAD_TOF), at, tof, bins)
        first, second = first + off0, second + off1
        unordered += first < second
        if counts.size:
            counts[first] += 1
            counts[second] += 1
        else:
            out[i, 0], out[i, 1], out[i, 2] = first, second, scale * tof - shift
    state[POS] = pos
    state[UNORDERED] += unordered
    return np.int64(n)


@nb.njit(cache=True, nogil=True)
def _skip_singles(buf, end, n, state, most):  # type: ignore[no-untyped-def]
    pos = state[POS]
    for _ in range(n):
        at = pos
        detector, pos = varint(buf, pos, end)
        if detector < 0:
            return _fail(state, detector, at, 0, 0)
        if detector >= most:
            return _fail(state, np.int64(BAD_ID), at, detector, most)
        time, pos = varint(buf, pos, end)
        if time < 0:
            return _fail(state, time, at, 0, 0)
    state[POS] = pos
    return np.int64(n)


@nb.njit(cache=True, nogil=True)
def _no_multiples(buf, end, state, depth, types):  # type: ignore[no-untyped-def]
    """Walk over the nested counts of triples or quadruples, all of whose lists must be empty."""
    left = np.zeros(depth, np.int64)
    level, left[0] = 0, 1
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
            return _fail(state, np.int64(MULTIPLES), state[POS], n, 0)
        if not innermost and n > 0:
            level += 1
            left[level] = n
    return np.int64(0)


@nb.njit(cache=True, nogil=True)
def _open_block(buf, end, state, spans):  # type: ignore[no-untyped-def]
    """Tag and interval of the next block: 0 inside an event block, OTHER in front of another one's
    content.
    """
    at = state[POS]
    if at >= end:
        return _fail(state, np.int64(TRUNCATED), at, 0, 0)
    tag = np.int64(buf[at])
    if tag > 5:
        return _fail(state, np.int64(BAD_TAG), at, tag, 5)
    state[POS] = at + 1
    if tag > 0:
        return np.int64(OTHER)
    start = _number(buf, end, state, np.int64(0xFFFFFFFF), 0, BAD_COUNT)
    if start < 0:
        return start
    stop = _number(buf, end, state, np.int64(0xFFFFFFFF), 0, BAD_COUNT)
    if stop < 0:
        return stop
    if stop < start or start < state[CLOCK]:
        return _fail(
            state,
            np.int64(BAD_TIME),
            at,
            start if stop >= start else stop,
            max(start, state[CLOCK]),
        )
    state[CLOCK] = start
    spans[state[SPANS], 0], spans[state[SPANS], 1] = start, stop
    state[SPANS] += 1
    state[PHASE], state[FIELD], state[ROWS], state[COLS] = BLOCK, -1, 0, 0
    return np.int64(0)


@nb.njit(cache=True, nogil=True)
def _next_list(buf, end, state, types):  # type: ignore[no-untyped-def]
    """Step to the next list of the open block: sets LEFT, TYPE0, TYPE1; leaves the block at its
    end.
    """
    if state[COLS] > 0 or (state[ROWS] > 0 and state[FIELD] == 0):
        if state[FIELD] == 0:
            state[ROWS] -= 1
            state[TYPE0] += 1
        else:
            state[COLS] -= 1
            state[TYPE1] += 1
        smallest = 2 if state[FIELD] == 0 else EVENT_BYTES
        n = _number(buf, end, state, np.int64(0), smallest, BAD_COUNT)
        if n > 0:
            state[LEFT] = n
        return min(n, 0)
    if state[ROWS] > 0:
        state[ROWS] -= 1
        state[TYPE0] += 1
        state[TYPE1] = -1
        n = _number(buf, end, state, state[TYPE0] + 1, 0, BAD_ROWS)
        state[COLS] = max(n, 0)
        return min(n, 0)
    state[FIELD] += 1
    if state[FIELD] <= 2:
        n = _number(buf, end, state, types, 0, BAD_ROWS)
        state[ROWS], state[TYPE0] = max(n, 0), -1
        return min(n, 0)
    if state[FIELD] <= 4:
        return _no_multiples(buf, end, state, state[FIELD] + 1, types)
    state[PHASE] = TAG
    return np.int64(0)


@nb.njit(cache=True, nogil=True)
def decode(buf, state, out, spans, offsets, sizes, tof, delayed):  # type: ignore[no-untyped-def]
    """Decode until `out` (n, 3) int32 or `spans` (m, 2) is full or something else comes: (why it
    stopped, events).

    `buf` is the file, uint8; `offsets` and `sizes` (module types,) give the first id and the number
    of detection bins of each type; `tof` is (bins, scale, shift): an event's TOF is scale * index -
    shift; `delayed` counts delayeds by detector. `state` must be zero but for POS at the first
    call.
    """
    end, n = np.int64(buf.size), 0
    none = np.zeros(0, np.int64)
    budget = out.shape[0]  # work of one call, whatever the lists hold
    while True:
        if state[LEFT] == 0:
            state[BAD_FIELD] = state[FIELD] if state[PHASE] == BLOCK else -1
        if state[PHASE] == CHUNK:
            items = _number(buf, end, state, np.int64(0), 1, BAD_COUNT)
            if items < 0:
                return items, n
            if items == 0:
                if state[POS] != end:
                    return _fail(state, np.int64(TRAILING), state[POS], end - state[POS], 0), n
                return np.int64(DONE), n
            state[ITEMS], state[PHASE] = items, TAG
        elif state[PHASE] == TAG:
            if state[ITEMS] == 0:
                state[PHASE] = CHUNK
                continue
            if state[SPANS] == spans.shape[0]:
                return np.int64(FULL), n
            state[ITEMS] -= 1
            code = _open_block(buf, end, state, spans)
            if code != 0:
                return code, n
        elif state[LEFT] == 0:
            code = _next_list(buf, end, state, offsets.size)
            if code < 0:
                state[BAD_FIELD] = state[FIELD]  # of the list it stepped to
                return code, n
        else:
            take = min(state[LEFT], budget)
            if take == 0:
                return np.int64(FULL), n
            a, b = state[TYPE0], state[TYPE1]
            if state[FIELD] == 0:
                code = _skip_singles(buf, end, take, state, sizes[a])
                state[SINGLES] += take
            else:
                limits = (offsets[a], offsets[b], sizes[a], sizes[b], tof[0], tof[1], tof[2])
                prompt = state[FIELD] == 1
                code = _coincidences(
                    buf, end, out[n:], take, state, limits, none if prompt else delayed
                )
                if prompt:
                    n += take
                else:
                    state[DELAYED] += take
            if code < 0:
                return code, n
            state[LEFT] -= take
            budget -= take


@nb.njit(cache=True, nogil=True)
def encode(events, ids, half, out):  # type: ignore[no-untyped-def]
    """Write `events` (n, 3) int32 of (det0, det1, tof) into `out` (at least 15 n) uint8; return the
    bytes used.

    `ids` maps our detectors to PETSIRD's detection bins; the larger one goes first, and the TOF
    index, counted from 0 at -half, turns with it.
    """
    pos = 0
    for i in range(events.shape[0]):
        first, second, tof = ids[events[i, 0]], ids[events[i, 1]], np.int64(events[i, 2])
        if first < second:
            first, second, tof = second, first, -tof
        pos = put(out, pos, np.int64(first))
        pos = put(out, pos, np.int64(second))
        pos = put(out, pos, tof + half)
    return pos
