"""Geometric weights of LORs out of a table."""

from __future__ import annotations

import numpy as np

from ..runtime.compiled import njit


@njit(nogil=True)
def look_up(det0, det1, table, n_crystals):  # type: ignore[no-untyped-def]
    """Weights (n,) of LORs between detector ids (n,) on a scanner of `n_crystals` a ring.

    `table` (crystals apart around the ring, rings apart), as from `Scanner.lor_weights`.
    """
    weights = np.empty(det0.size)

    for i in range(det0.size):
        one = np.int64(det0[i])
        other = np.int64(det1[i])
        ring0 = one // n_crystals
        ring1 = other // n_crystals

        gap = abs((one - ring0 * n_crystals) - (other - ring1 * n_crystals))
        gap = min(gap, n_crystals - gap)
        weights[i] = table[gap, abs(ring0 - ring1)]

    return weights
