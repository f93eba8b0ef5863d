"""Kernels of the scatter and randoms of the Monte Carlo simulation."""

from __future__ import annotations

import math

import numpy as np

from ..runtime.compiled import njit
from .detection import RAY, Acceptance, Geometry, record, trace
from .random_numbers import normal, uniform


@njit(nogil=True, fastmath=True, error_model="numpy")
def emit_gaussian(  # type: ignore[no-untyped-def]
    events, mean, centre, sigma, cos_max, geometry_fields, acceptance_fields, state
):
    """Poisson emissions from a Gaussian source without attenuation; returns the number of events
    written.
    """
    geometry = Geometry(*geometry_fields)
    acceptance = Acceptance(*acceptance_fields)
    n_events = 0
    if mean <= 0:  # scatter_fraction = 0
        return n_events

    ray = np.empty(1, RAY)[0]
    position = 0.0

    while True:
        position -= math.log(uniform(state)) / mean
        if position > 1 or n_events >= events.size:
            return n_events

        x = centre[0] + sigma[0] * normal(state)
        y = centre[1] + sigma[1] * normal(state)
        z = centre[2] + sigma[2] * normal(state)

        # isotropic, but no steeper than can hit detectors at both ends
        phi = math.pi * uniform(state)
        cosine = cos_max * (2 * uniform(state) - 1)

        if trace(ray, x, y, z, phi, cosine, geometry, acceptance):
            n_events += record(events[n_events], ray, phi, geometry, acceptance, state)


@njit(nogil=True)
def emit_randoms(events, acceptance_fields, state):  # type: ignore[no-untyped-def]
    """Fill `events` with events uniform over accepted LORs and TOF bins."""
    acceptance = Acceptance(*acceptance_fields)
    n_crystals = acceptance.crystals_per_ring
    n_rings = acceptance.rings
    n_tof_bins = 2 * acceptance.tof_half_bins + 1

    for n in range(events.size):
        while True:
            crystal0 = int(uniform(state) * n_crystals)
            crystal1 = int(uniform(state) * n_crystals)
            ring0 = int(uniform(state) * n_rings)
            ring1 = int(uniform(state) * n_rings)

            gap = abs(crystal0 - crystal1)
            gap = min(gap, n_crystals - gap)
            if (
                gap >= acceptance.min_crystal_difference
                and abs(ring0 - ring1) <= acceptance.max_ring_difference
            ):
                break

        events[n].det0 = ring0 * n_crystals + crystal0
        events[n].det1 = ring1 * n_crystals + crystal1
        events[n].tof = int(uniform(state) * n_tof_bins) - acceptance.tof_half_bins
