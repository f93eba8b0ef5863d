"""The LORs of a scanner that pass near a point."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..runtime.compiled import njit
from ..scanner.cylinder import AnyScanner

DETECTORS_AT_ONCE = 1024


class Candidates(NamedTuple):
    """Detectors (n,) as seen from a point, sorted by elevation: vectors and directions (n, 3) to
    them, and which others may lie opposite to within an angle.
    """

    away: np.ndarray
    direction: np.ndarray
    first: np.ndarray
    last: np.ndarray
    angle: np.ndarray


def lors_near(
    scanner: AnyScanner, centre_mm: tuple[float, ...], reach_mm: float
) -> Iterator[np.ndarray]:
    """Every pair of detectors whose LOR passes within `reach_mm` of a point, once each, in blocks:
    (n, 2) int64.

    Pairs that are not in coincidence are among them; `AnyScanner.lor_weights` tells. Detectors are
    sorted by their elevation as seen from the point: the other end of an LOR through it is
    opposite, so that few pairs are tried.
    """
    detectors = scanner.detector_mm().astype(np.float64)
    away = detectors - np.asarray(centre_mm, np.float64)
    distance = np.linalg.norm(away, axis=1)
    nearest_mm = distance.min()
    if nearest_mm <= reach_mm:
        raise ValueError(
            f"lesion: its blurred sphere (radius {reach_mm:.1f} mm) reaches the scanner's detectors"
        )

    direction = away / distance[:, None]
    order = np.argsort(direction[:, 2], kind="stable")
    elevation = direction[order, 2]

    # by how much the directions to both ends may miss being opposite
    sine = reach_mm * (1 / distance[order] + 1 / nearest_mm)
    angle = np.arcsin(np.minimum(sine, 1.0))

    opposite = -elevation
    first = np.searchsorted(elevation, opposite - angle, "left")
    last = np.searchsorted(elevation, opposite + angle, "right")
    candidates = Candidates(
        away=away[order],
        direction=direction[order],
        first=first,
        last=last,
        angle=angle,
    )

    no_room = np.empty((0, 2), np.int64)
    for start in range(0, len(order), DETECTORS_AT_ONCE):
        stop = min(start + DETECTORS_AT_ONCE, len(order))

        n_pairs = _pairs_near(start, stop, tuple(candidates), reach_mm, no_room)
        pairs = np.empty((n_pairs, 2), np.int64)
        _pairs_near(start, stop, tuple(candidates), reach_mm, pairs)
        yield order[pairs]


@njit(nogil=True)
def _pairs_near(start, stop, candidates_fields, reach, pairs):  # type: ignore[no-untyped-def]
    """Count the pairs of detectors `start`..`stop` with later ones, and write those for which there
    is room.
    """
    candidates = Candidates(*candidates_fields)
    away = candidates.away
    direction = candidates.direction
    reach2 = reach * reach

    n = 0
    for i in range(start, stop):
        least = -math.cos(candidates.angle[i])
        p = away[i]

        # later ones only: each pair once
        first = max(candidates.first[i], i + 1)
        for j in range(first, candidates.last[i]):
            cosine = 0.0
            for k in range(3):
                cosine += direction[i, k] * direction[j, k]
            if cosine > least:
                continue

            # squared distance of the line from the point: |p x q|^2 / |p - q|^2
            q = away[j]
            cross_x = p[1] * q[2] - p[2] * q[1]
            cross_y = p[2] * q[0] - p[0] * q[2]
            cross_z = p[0] * q[1] - p[1] * q[0]
            cross2 = cross_x**2 + cross_y**2 + cross_z**2

            dx = p[0] - q[0]
            dy = p[1] - q[1]
            dz = p[2] - q[2]
            length2 = dx**2 + dy**2 + dz**2

            if cross2 <= reach2 * length2:
                if n < pairs.shape[0]:
                    pairs[n, 0] = i
                    pairs[n, 1] = j
                n += 1

    return n
