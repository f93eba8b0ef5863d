"""yardl's variable-length integers: seven bits a byte, lowest first, the top bit set on all but the
last byte.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from ..runtime.compiled import njit

# in place of a value
TRUNCATED = -1
TOO_LONG = -2


@nb.njit(inline="always")
def read_varint(buf, pos, end):  # type: ignore[no-untyped-def]
    """An unsigned 32-bit varint at `pos`: (value, position behind it), or (TRUNCATED or TOO_LONG,
    position).
    """
    value = np.int64(0)

    for k in range(5):
        if pos >= end:
            return np.int64(TRUNCATED), pos

        byte = np.int64(buf[pos])
        pos += 1
        value |= (byte & 0x7F) << (7 * k)
        if byte < 0x80:
            if value > 0xFFFFFFFF:
                return np.int64(TOO_LONG), pos
            return value, pos

    return np.int64(TOO_LONG), pos


@nb.njit(inline="always")
def put_varint(buf, pos, value):  # type: ignore[no-untyped-def]
    """Write an unsigned varint at `pos`; return the position behind it."""
    while value >= 0x80:
        buf[pos] = (value & 0x7F) | 0x80
        value >>= 7
        pos += 1

    buf[pos] = value
    return pos + 1


def varint_bytes(value: int) -> bytes:
    """An unsigned varint of any size."""
    encoded = bytearray()

    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7

    return bytes([*encoded, value])


@njit(nogil=True)
def decode_signed(buf, pos, end, count):  # type: ignore[no-untyped-def]
    """`count` zigzag-encoded 32-bit varints at `pos`: (values, position behind); fewer values where
    one is damaged.
    """
    values = np.empty(count, np.int64)

    for i in range(count):
        value, after = read_varint(buf, pos, end)
        if value < 0:
            return values[:i], pos

        values[i] = (value >> 1) ^ -(value & 1)
        pos = after

    return values, pos


@njit(nogil=True)
def encode_signed(values):  # type: ignore[no-untyped-def]
    """The bytes of `values` (n,) int64 as zigzag-encoded varints, uint8."""
    buf = np.empty(10 * values.size, np.uint8)
    pos = 0

    for value in values:
        pos = put_varint(buf, pos, (value << 1) ^ (value >> 63))

    return buf[:pos]
