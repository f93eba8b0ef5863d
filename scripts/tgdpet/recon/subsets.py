"""Subsets of OSEM: every n-th event of a sample, in an order that keeps to the caches.

All samples of a study are taken from one list of its events, which is put in that order once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..config.roles import Sample
from ..listmode import subsample
from ..runtime.compiled import njit
from .locality import locality_order

LEFT_OUT = 255  # where events of other samples belong: no subset; a protocol has at most 100


class Subset(NamedTuple):
    """Events (n,) of one update and their additive term (n,), where the projector reads them."""

    events: Any
    additive: Any
    n_events: int


class OrderedEvents:
    """Events of a list mode and their additive term in locality order."""

    def __init__(self, projector: Any, events: np.ndarray, additive: np.ndarray) -> None:
        """`events` (n,) as recorded, `additive` (n,) one value each; what is kept is a copy."""
        order = locality_order(events, projector.scanner, projector.grid)
        order = order.astype(_smallest_integer(len(order)), copy=False)

        self._projector = projector
        self._order = order
        self._events, self._additive = _take(events, additive, order)

    def subsets(self, n_subsets: int, kept: np.ndarray | None = None) -> list[Subset]:
        """The subsets of a sample: every `n_subsets`-th event in the order of recording.

        `kept` (n,) bool: which events, in the order of recording, are the sample's; all by default.
        Raises ValueError when there are fewer events than subsets.
        """
        if kept is None:
            kept = np.ones(len(self._order), np.bool_)

        n_kept = int(np.count_nonzero(kept))
        if n_kept < n_subsets:
            raise ValueError(
                f"reconstruction: {n_kept} events cannot be split into {n_subsets} subsets"
            )

        places = _places(kept, n_subsets, self._order)
        return [self._subset(rows) for rows in places]

    def _subset(self, rows: np.ndarray) -> Subset:
        events, additive = _take(self._events, self._additive, rows)
        hold = self._projector.hold

        return Subset(hold(events), hold(additive), len(rows))


class DrawnEvents:
    """The events of a study that at least one of some samples takes, in locality order."""

    def __init__(
        self,
        projector: Any,
        samples: Sequence[Sample],
        events: np.ndarray,
        additive: np.ndarray,
        seed: int,
        study: str,
    ) -> None:
        """`events` (n,) and `additive` (n,) as recorded, memory-mapped or not."""
        self._key = (0, len(events), seed, study)
        self._used = subsample.in_any(samples, len(events), seed, study)

        taken = subsample.taken(self._used, [events, additive])
        self._ordered = OrderedEvents(projector, *taken)

    def subsets(self, sample: Sample, n_subsets: int) -> list[Subset]:
        """The subsets of one of the samples; see `OrderedEvents.subsets`."""
        kept = subsample.keep(sample, *self._key)

        return self._ordered.subsets(n_subsets, kept[self._used])


def _smallest_integer(n_events: int) -> type:
    """Half the memory while the list mode has less than 4 billion events."""
    return np.uint32 if n_events <= np.iinfo(np.uint32).max else np.int64


def _places(kept: np.ndarray, n_subsets: int, order: np.ndarray) -> list[np.ndarray]:
    """For each subset, where its events lie in `order`, ascending."""
    subset, counts = _subset_numbers(kept, n_subsets)
    ends = np.cumsum(counts)
    sorted_by_subset = _sort_places(subset, order, ends - counts)

    return np.split(sorted_by_subset, ends[:-1])


@njit(nogil=True)
def _subset_numbers(kept, n_subsets):  # type: ignore[no-untyped-def]
    """The subset of each event, `LEFT_OUT` for those that are not kept; events a subset."""
    subset = np.full(kept.size, LEFT_OUT, np.uint8)
    counts = np.zeros(n_subsets, np.int64)
    number = 0

    for e in range(kept.size):
        if kept[e]:
            subset[e] = number
            counts[number] += 1
            number = number + 1 if number + 1 < n_subsets else 0

    return subset, counts


@njit(nogil=True)
def _sort_places(subset, order, starts):  # type: ignore[no-untyped-def]
    """Places in `order` of the events of subset 0, then of 1, and so on, from `starts` on."""
    next_place = starts.copy()
    places = np.empty(np.count_nonzero(subset != LEFT_OUT), order.dtype)

    for place in range(order.size):
        number = subset[order[place]]
        if number != LEFT_OUT:
            places[next_place[number]] = place
            next_place[number] += 1

    return places


@njit(nogil=True)
def _take(events, additive, rows):  # type: ignore[no-untyped-def]
    """Events and additive term at `rows`: numpy copies structures far slower."""
    taken = np.empty(rows.size, events.dtype)
    taken_additive = np.empty(rows.size, additive.dtype)

    for i in range(rows.size):
        row = rows[i]
        taken[i] = events[row]
        taken_additive[i] = additive[row]

    return taken, taken_additive
