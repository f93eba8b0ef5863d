"""List-mode projector pair, TOF and non-TOF: Joseph's method (Joseph 1982) with a Gaussian TOF
kernel.

An LOR is sampled where it crosses the voxel planes of its main axis; between the four voxels around
a crossing the image is interpolated bilinearly. A sample at distance d from the centre of the
event's TOF bin has the weight erf((d + b/2) / (sqrt2 s)) / 2 - erf((d - b/2) / (sqrt2 s)) / 2 (b
bin width, s sigma, both mm), cut at 3 sigma and divided by the kernel's integral, so that all TOF
bins sum to the non-TOF value.

Images are (X, Y, Z) on a centred grid; projections are line integrals in image unit times mm. Work
is cut into parts, each with an image of its own where it writes one, by the number of events alone,
so results do not depend on the number of threads. Events in the order of `locality_order` keep to
the processor's caches.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config.sections import Grid
from ..scanner.cylinder import AnyScanner
from . import joseph
from .joseph import pad
from .tof import WITHOUT_TOF, tof_table

N_PARTS = 4
EVENTS_PER_PART = 1 << 15  # fewer are done sooner than another image is zeroed and added
MOST_PARTS, MANY_EVENTS = 16, 1 << 18  # more parts, for more threads, where each has so many events
# voxels; of `locality_order`: what events of such a cube and one direction read fits the fastest
# cache
CELL = 4


@dataclass(frozen=True)
class Projector:
    """A scanner's detectors and an image grid; `threads` work at once."""

    scanner: AnyScanner
    grid: Grid
    threads: int = 1

    def __post_init__(self) -> None:
        scanner = self.scanner
        table = tof_table(scanner.tof_sigma_mm, scanner.tof_bin_mm)
        detectors = np.ascontiguousarray(scanner.detector_mm(), np.float32)
        geometry = detectors, np.asarray(self.grid.voxel_mm, np.float64), float(scanner.tof_step_mm)
        object.__setattr__(self, "_with_tof", (*geometry, *table))
        object.__setattr__(self, "_without_tof", (*geometry, *WITHOUT_TOF))
        object.__setattr__(self, "_spare", {})

    def hold(self, array: np.ndarray) -> np.ndarray:
        """Bring an array to where it is read, before many calls with it: here, it is there."""
        return array

    def forward(
        self, image: np.ndarray, det0: np.ndarray, det1: np.ndarray, tof: np.ndarray | None = None
    ) -> np.ndarray:
        """Line integrals (n,) of `image` (X, Y, Z) for detector ids (n,) and TOF bins (n,); without
        bins, non-TOF.
        """
        padded = pad(self._checked(image))
        out = np.empty(len(det0), image.dtype)
        bins, geometry = self._bins(tof, len(det0))

        def work(part: int, some: slice) -> None:
            joseph.forward(padded, det0[some], det1[some], bins[some], out[some], *geometry)

        self._each(work, len(det0))
        return out

    def back(
        self, values: np.ndarray, det0: np.ndarray, det1: np.ndarray, tof: np.ndarray | None = None
    ) -> np.ndarray:
        """The adjoint of `forward`: values (n,) spread into an image (X, Y, Z) of their dtype."""
        bins, geometry = self._bins(tof, len(det0))

        def work(image: np.ndarray, some: slice) -> None:
            joseph.back(image, det0[some], det1[some], bins[some], values[some], *geometry)

        return self._total(work, len(det0), values.dtype)

    def em_back(self, image: np.ndarray, events: np.ndarray, additive: np.ndarray) -> np.ndarray:
        """Back projection of 1 / (forward + additive) of `events` in one pass over them; (X, Y, Z)
        of its dtype.

        `additive` (n,) float32: expected background of each event divided by its LOR's attenuation
        and weight, in image unit times mm. Events that expect nothing are left out.
        """
        padded = pad(self._checked(image))
        geometry = self._with_tof  # type: ignore[attr-defined]

        def work(out: np.ndarray, some: slice) -> None:
            joseph.em_back(padded, events[some], additive[some], out, *geometry)

        return self._total(work, len(events), image.dtype)

    def _bins(self, tof: np.ndarray | None, n: int) -> tuple[np.ndarray, tuple[Any, ...]]:
        if tof is None:
            return np.zeros(n, np.int32), self._without_tof  # type: ignore[attr-defined]
        return tof, self._with_tof  # type: ignore[attr-defined]

    def _checked(self, image: np.ndarray) -> np.ndarray:
        if list(image.shape) != list(self.grid.shape):
            raise ValueError(
                f"projector: expected an image of shape {tuple(self.grid.shape)}, got {image.shape}"
            )
        return image

    def _total(
        self, work: Callable[[np.ndarray, slice], None], n: int, dtype: np.dtype[Any]
    ) -> np.ndarray:
        """What `work(padded image, events)` adds up in an image of zeros, over all `n` events."""
        shape = self.grid.shape
        parts, out = self._take_parts(_n_parts(n), dtype), np.empty(shape, dtype)

        def zero_and_work(part: int, some: slice) -> None:
            parts[part] = 0
            work(parts[part], some)

        def add(part: int, planes: slice) -> None:
            joseph.add_parts(parts, out, planes.start, planes.stop)

        self._each(zero_and_work, n)
        self._each(add, shape[0], len(parts))
        self._spare[len(parts), dtype].append(parts)  # type: ignore[attr-defined]
        return out

    def _take_parts(self, n_parts: int, dtype: np.dtype[Any]) -> np.ndarray:
        """Padded images with anything in them, from an earlier call where one is done: new memory
        costs page faults.
        """
        try:
            return self._spare.setdefault((n_parts, dtype), []).pop()  # type: ignore[attr-defined]
        except IndexError:  # none yet, or all with calls that run at this moment
            return np.empty((n_parts, *(m + 2 for m in self.grid.shape)), dtype)

    def _each(self, work: Callable[[int, slice], None], n: int, n_parts: int = 0) -> None:
        n_parts = n_parts or _n_parts(n)
        bounds = np.linspace(0, n, n_parts + 1).astype(int).tolist()
        parts = [slice(a, b) for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
        if min(self.threads, n_parts) == 1:
            for part, some in enumerate(parts):
                work(part, some)
            return
        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(work, range(n_parts), parts))


def locality_order(
    events: np.ndarray, scanner: AnyScanner, grid: Grid, use_tof: bool = True
) -> np.ndarray:
    """A permutation (n,) of events that brings together those of one place and direction; ties keep
    their order.

    Projecting them in this order rereads voxels while they are cached; results change by rounding
    only. The place is the TOF bin's or, for projections without TOF, the middle of the LOR.
    """
    key, n_keys = joseph.place_keys(
        events,
        np.ascontiguousarray(scanner.detector_mm(), np.float32),
        float(scanner.tof_step_mm) if use_tof else 0.0,
        np.asarray(grid.shape, np.int64),
        np.asarray(grid.voxel_mm, np.float64),
        CELL,
    )
    return np.asarray(joseph.counting_sort(key, n_keys))


def _n_parts(n: int) -> int:
    return max(1, min(n // EVENTS_PER_PART, N_PARTS), min(n // MANY_EVENTS, MOST_PARTS))
