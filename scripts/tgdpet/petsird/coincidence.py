"""Which events lie on pairs of detectors with an efficiency above 0, at the speed of decoding.

The answer is `TableScanner.lor_weights > 0`; its tables are packed so that they stay in the
processor's cache: one bit a pair in a symmetry group, half a matrix of groups.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from ..scanner.tabulated import TableScanner


class Coincidence:
    """Packed tables of a scanner."""

    def __init__(self, scanner: TableScanner) -> None:
        modules = len(scanner.group)
        small = (
            np.int16
            if max(len(scanner.group_start), modules, int(scanner.place.max())) < 1 << 15
            else np.int32
        )
        # one more module, in coincidence with none, holds the detectors without efficiency
        dead = modules
        module = np.where(scanner.efficiency > 0, scanner.module, dead)
        self._where = np.stack([module, scanner.place], axis=1).astype(small)
        self._group = np.full((modules + 1) * (modules + 2) // 2, -1, small)
        row, column = np.tril_indices(modules)
        self._group[row * (row + 1) // 2 + column] = scanner.group[row, column]
        self._start, self._stride = scanner.group_start, scanner.group_stride
        self._bits = np.packbits(scanner.pair_efficiency > 0, bitorder="little")
        self._position = scanner.position_mm

    def seen(self, part: np.ndarray) -> np.ndarray:
        """Whether each event of `part` (n, 3) int32 of (det0, det1, tof) can have been a true, (n,)
        bool.
        """
        return np.asarray(
            _seen(
                part,
                self._where,
                self._group,
                self._start,
                self._stride,
                self._bits,
                self._position,
            )
        )


@nb.njit(cache=True, nogil=True)
def _seen(part, where, group, start, stride, bits, at):  # type: ignore[no-untyped-def]
    # unsigned indices spare numba's test for negative ones
    out = np.empty(part.shape[0], np.bool_)
    for e in range(part.shape[0]):
        i, j = np.uint32(part[e, 0]), np.uint32(part[e, 1])
        if i < j:
            i, j = j, i
        a, b = np.int64(where[i, 0]), np.int64(where[j, 0])
        if a < b:  # only where one end has no efficiency
            a, b = b, a
        g = np.int64(group[np.uint64(a * (a + 1) // 2 + b)])
        if g < 0 or (
            a == b and at[i, 0] == at[j, 0] and at[i, 1] == at[j, 1] and at[i, 2] == at[j, 2]
        ):
            out[e] = False
            continue
        k = (
            start[np.uint64(g)]
            + where[i, 1] * stride[np.uint64(g), 0]
            + where[j, 1] * stride[np.uint64(g), 1]
        )
        out[e] = (bits[np.uint64(k >> 3)] >> np.uint8(k & 7)) & 1
    return out
