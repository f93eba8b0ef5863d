"""Which events lie on pairs of detectors with an efficiency above 0, at the speed of decoding.

The answer is `TableScanner.lor_weights > 0`; its tables are packed so that they stay in the
processor's cache: one bit a pair in a symmetry group, half a matrix of groups.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np

from ..runtime.compiled import njit
from ..scanner.tabulated import TableScanner


class PackedTables(NamedTuple):
    """Tables of a `TableScanner`, for compiled functions.

    `where` (n, 2): a detector's module and its index in there; `group` (pairs of modules,): the
    lower triangle, row by row; `bits`: whether each pair efficiency is above 0.
    """

    where: np.ndarray
    group: np.ndarray
    start: np.ndarray
    stride: np.ndarray
    bits: np.ndarray
    position_mm: np.ndarray


class Coincidence:
    """Packed tables of a scanner."""

    def __init__(self, scanner: TableScanner) -> None:
        n_modules = len(scanner.group)
        largest = max(len(scanner.group_start), n_modules, int(scanner.place.max()))
        small = np.int16 if largest < 1 << 15 else np.int32

        # one more module, in coincidence with none, holds the detectors without efficiency
        module = np.where(scanner.efficiency > 0, scanner.module, n_modules)
        n_pairs = (n_modules + 1) * (n_modules + 2) // 2
        group = np.full(n_pairs, -1, small)
        row, column = np.tril_indices(n_modules)
        before_row = row * (row + 1) // 2
        group[before_row + column] = scanner.group[row, column]

        self._tables = PackedTables(
            where=np.stack([module, scanner.place], axis=1).astype(small),
            group=group,
            start=scanner.group_start,
            stride=scanner.group_stride,
            bits=np.packbits(scanner.pair_efficiency > 0, bitorder="little"),
            position_mm=scanner.position_mm,
        )

    def seen(self, part: np.ndarray) -> np.ndarray:
        """Whether each event of `part` (n, 3) int32 of (det0, det1, tof) can have been a true, (n,)
        bool.
        """
        # a plain tuple: numba's cache on disk fails to load where a class of arguments was renamed
        return np.asarray(_seen(part, tuple(self._tables)))


@njit(nogil=True)
def _seen(part, tables_fields):  # type: ignore[no-untyped-def]
    tables = PackedTables(*tables_fields)

    # unsigned indices spare numba's test for negative ones
    seen = np.empty(part.shape[0], np.bool_)

    for e in range(part.shape[0]):
        i = np.uint32(part[e, 0])
        j = np.uint32(part[e, 1])
        if i < j:
            i, j = j, i

        a = np.int64(tables.where[i, 0])
        b = np.int64(tables.where[j, 0])
        if a < b:  # only where one end has no efficiency
            a, b = b, a

        before_row = a * (a + 1) // 2
        g = np.int64(tables.group[np.uint64(before_row + b)])
        if g < 0 or (a == b and _same_element(tables.position_mm, i, j)):
            seen[e] = False
            continue

        # the pair's place in the table of its group
        number = np.uint64(g)
        k = tables.start[number]
        k += tables.where[i, 1] * tables.stride[number, 0]
        k += tables.where[j, 1] * tables.stride[number, 1]

        byte = tables.bits[np.uint64(k >> 3)]
        seen[e] = (byte >> np.uint8(k & 7)) & 1

    return seen


@nb.njit(inline="always")
def _same_element(position_mm, i, j):  # type: ignore[no-untyped-def]
    """Whether two detection bins are energy windows of one detecting element."""
    same_x = position_mm[i, 0] == position_mm[j, 0]
    same_y = position_mm[i, 1] == position_mm[j, 1]
    same_z = position_mm[i, 2] == position_mm[j, 2]

    return same_x and same_y and same_z
