"""Identical rings among detectors at any positions."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

SAME_POSITION_MM = 1e-3  # positions closer than this are the same


def find_rings(position_mm: np.ndarray) -> np.ndarray | None:
    """Arrange detectors (n, 3) as identical rings: ids (rings, crystals) by z and angle.

    None when the planes of equal z (within 1e-3 mm) differ in number or in their detectors' x and
    y.
    """
    # planes of equal z
    order = np.argsort(position_mm[:, 2], kind="stable")
    z_mm = position_mm[order, 2].astype(np.float64)
    edges = np.flatnonzero(np.diff(z_mm) > SAME_POSITION_MM) + 1
    planes = np.split(order, edges)

    for plane in planes:
        thickness_mm = np.ptp(position_mm[plane, 2])
        if len(plane) != len(planes[0]) or thickness_mm > SAME_POSITION_MM:
            return None

    # the first plane's detectors by angle, those of one angle by radius
    x, y = position_mm[planes[0], :2].T
    angle = np.arctan2(y, x)
    radius_mm = np.hypot(x, y)
    first = planes[0][np.lexsort((radius_mm, angle))]
    first_mm = position_mm[first, :2]

    # the same x and y in all other planes
    ids = np.empty((len(planes), len(first)), np.int64)
    for row, plane in zip(ids, planes, strict=True):
        tree = cKDTree(position_mm[plane, :2])
        distance_mm, nearest = tree.query(first_mm)

        n_different = len(np.unique(nearest))
        if distance_mm.max() > SAME_POSITION_MM or n_different < len(nearest):
            return None

        row[:] = plane[nearest]

    return ids
