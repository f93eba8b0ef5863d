"""List-mode projector pair, TOF and non-TOF: Joseph's method (Joseph 1982) with a Gaussian TOF
kernel.

An LOR is sampled where it crosses the voxel planes of its main axis; between the four voxels around
a crossing the image is interpolated bilinearly. A sample at distance d from the centre of the
event's TOF bin has the weight erf((d + b/2) / (sqrt2 s)) / 2 - erf((d - b/2) / (sqrt2 s)) / 2 (b
bin width, s sigma, both mm), cut at 3 sigma and divided by the kernel's integral, so that all TOF
bins sum to the non-TOF value.

Images are (X, Y, Z) on a centred grid; projections are line integrals in image unit times mm. Work
is cut into parts, each with an image to itself where it writes one, by the number of events alone,
so results do not depend on the number of threads. Events in the order of
`locality.locality_order` keep to the processor's caches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np

from ..config.sections import Grid
from ..scanner.cylinder import AnyScanner
from . import joseph
from .joseph import ProjectionGeometry, pad
from .tof import WITHOUT_TOF, tof_table

N_PARTS = 4
EVENTS_PER_PART = 1 << 15  # fewer are done sooner than another image is zeroed and added

# more parts, for more threads, where each has so many events
MOST_PARTS = 16
MANY_EVENTS = 1 << 18


class Projector:
    """The projector pair of a scanner's detectors and an image grid; `threads` work at once."""

    def __init__(self, scanner: AnyScanner, grid: Grid, threads: int = 1) -> None:
        self.scanner = scanner
        self.grid = grid
        self.threads = threads

        detectors_mm = np.ascontiguousarray(scanner.detector_mm(), np.float32)
        voxel_mm = np.asarray(grid.voxel_mm, np.float64)
        tof_step_mm = float(scanner.tof_step_mm)
        table = tof_table(scanner.tof_sigma_mm, scanner.tof_bin_mm)

        self._with_tof = ProjectionGeometry(detectors_mm, voxel_mm, tof_step_mm, *table)
        self._without_tof = ProjectionGeometry(detectors_mm, voxel_mm, tof_step_mm, *WITHOUT_TOF)

        # padded images that no part writes into at this moment, by dtype
        self._spare: dict[np.dtype[Any], list[np.ndarray]] = {}

    def hold(self, array: np.ndarray) -> np.ndarray:
        """Bring an array to where it is read, before many calls with it: here, it is there."""
        return array

    def forward(
        self, image: np.ndarray, det0: np.ndarray, det1: np.ndarray, tof: np.ndarray | None = None
    ) -> np.ndarray:
        """Line integrals (n,) of `image` (X, Y, Z), in its unit times mm and of its dtype.

        Takes detector ids (n,) and TOF bins (n,); without bins, non-TOF.
        """
        padded = pad(self._checked(image))
        bins, geometry = self._bins(tof, len(det0))
        integrals = np.empty(len(det0), image.dtype)

        def project(rows: slice) -> None:
            joseph.forward(
                padded,
                det0[rows],
                det1[rows],
                bins[rows],
                integrals[rows],
                tuple(geometry),
            )

        self._each(project, len(det0))
        return integrals

    def back(
        self, values: np.ndarray, det0: np.ndarray, det1: np.ndarray, tof: np.ndarray | None = None
    ) -> np.ndarray:
        """The adjoint of `forward`: values (n,) spread into an image (X, Y, Z) of their dtype."""
        bins, geometry = self._bins(tof, len(det0))

        def project(image: np.ndarray, rows: slice) -> None:
            joseph.back(
                image,
                det0[rows],
                det1[rows],
                bins[rows],
                values[rows],
                tuple(geometry),
            )

        return self._total(project, len(det0), values.dtype)

    def em_back(self, image: np.ndarray, events: np.ndarray, additive: np.ndarray) -> np.ndarray:
        """Back projection of 1 / (forward + additive) of `events` (n,) of `EVENT` in one pass.

        `image` (X, Y, Z) gives the result's dtype. `additive` (n,) float32: expected background of
        each event divided by its LOR's attenuation and weight, in image unit times mm. Events that
        expect nothing are left out.
        """
        padded = pad(self._checked(image))

        def project(target: np.ndarray, rows: slice) -> None:
            joseph.em_back(
                padded,
                events[rows],
                additive[rows],
                target,
                tuple(self._with_tof),
            )

        return self._total(project, len(events), image.dtype)

    def _bins(self, tof: np.ndarray | None, n: int) -> tuple[np.ndarray, ProjectionGeometry]:
        if tof is None:
            return np.zeros(n, np.int32), self._without_tof

        return tof, self._with_tof

    def _checked(self, image: np.ndarray) -> np.ndarray:
        if list(image.shape) != list(self.grid.shape):
            raise ValueError(
                f"projector: expected an image of shape {tuple(self.grid.shape)}, got {image.shape}"
            )

        return image

    def _total(
        self, project: Callable[[np.ndarray, slice], None], n: int, dtype: np.dtype[Any]
    ) -> np.ndarray:
        """What `project(padded image, rows)` adds to an image of zeros, over all `n` events.

        As many padded images as work at once, whatever the number of parts: each is added to the
        total, in the order of the parts, and given to a later one.
        """
        total = np.zeros(self.grid.shape, dtype)

        def zero_and_project(rows: slice) -> np.ndarray:
            image = self._take_image(dtype)
            image[:] = 0
            project(image, rows)
            return image

        for image in self._in_order(zero_and_project, _slices(n, _n_parts(n))):
            joseph.add_part(image, total)
            self._spare[dtype].append(image)

        return total

    def _in_order(
        self, work: Callable[[slice], np.ndarray], slices: list[slice]
    ) -> Iterator[np.ndarray]:
        """`work(rows)` of each of `slices` in turn, of which `threads` are worked at once."""
        if min(self.threads, len(slices)) == 1:
            yield from map(work, slices)
            return

        with ThreadPoolExecutor(self.threads) as pool:
            waiting = deque(pool.submit(work, rows) for rows in slices[: self.threads])

            for rows in slices[self.threads :]:
                yield waiting.popleft().result()
                waiting.append(pool.submit(work, rows))

            while waiting:
                yield waiting.popleft().result()

    def _take_image(self, dtype: np.dtype[Any]) -> np.ndarray:
        """A padded image with anything in it.

        From an earlier part where one is done: new memory costs page faults.
        """
        spare = self._spare.setdefault(dtype, [])

        try:
            return spare.pop()
        except IndexError:  # none yet, or all with parts that run at this moment
            return np.empty([n_voxels + 2 for n_voxels in self.grid.shape], dtype)

    def _each(self, work: Callable[[slice], None], n: int) -> None:
        """Call `work(rows)` for all parts of `n` rows, on all threads."""
        slices = _slices(n, _n_parts(n))

        if min(self.threads, len(slices)) == 1:
            for rows in slices:
                work(rows)
            return

        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(work, slices))


def _slices(n: int, n_parts: int) -> list[slice]:
    bounds = np.linspace(0, n, n_parts + 1).astype(int)
    return [slice(first, stop) for first, stop in pairwise(bounds.tolist())]


def _n_parts(n: int) -> int:
    few = min(n // EVENTS_PER_PART, N_PARTS)
    many = min(n // MANY_EVENTS, MOST_PARTS)

    return max(1, few, many)
