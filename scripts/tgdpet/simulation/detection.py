"""Which pairs of photons a cylindrical scanner records, and as which events.

Kernels that are cached on disk take plain tuples of `Geometry` and `Acceptance`'s fields: numba's
cache names the classes of arguments, and fails to load where one was renamed since.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba as nb
import numpy as np

from ..config.sections import Simulation
from ..constants import FWHM_PER_SIGMA
from ..scanner.cylinder import Scanner
from .random_numbers import normal, uniform

# A line: its azimuth, the sine of its angle to the axis, the distances (mm) across the axis of the
# emission from the point closest to the axis and of that from the axis, the rings of both ends.
RAY = np.dtype(
    [
        ("cos_phi", "<f8"),
        ("sin_phi", "<f8"),
        ("sine", "<f8"),
        ("forward", "<f8"),
        ("aside", "<f8"),
        ("ring0", "<i8"),
        ("ring1", "<i8"),
    ]
)


class Geometry(NamedTuple):
    """Lengths of the scanner and of the point spread function, which widens away from the axis."""

    radius_mm: float
    half_axial_mm: float
    ring_pitch_mm: float
    tof_sigma_mm: float
    tof_bin_mm: float
    psf_sigma_mm: float
    psf_growth_per_mm: float


class Acceptance(NamedTuple):
    """Which pairs of detectors and which TOF bins the scanner records."""

    crystals_per_ring: int
    rings: int
    max_ring_difference: int
    tof_half_bins: int
    min_crystal_difference: int


def geometry_of(scanner: Scanner, settings: Simulation) -> Geometry:
    """The lengths of a cylindrical scanner and of the simulation's blur."""
    return Geometry(
        radius_mm=float(scanner.radius_mm),
        half_axial_mm=scanner.axial_mm / 2,
        ring_pitch_mm=float(scanner.ring_pitch_mm),
        tof_sigma_mm=scanner.tof_sigma_mm,
        tof_bin_mm=scanner.tof_bin_mm,
        psf_sigma_mm=settings.psf_fwhm_mm / FWHM_PER_SIGMA,
        psf_growth_per_mm=settings.psf_radial_slope / 300.0,
    )


def acceptance_of(scanner: Scanner) -> Acceptance:
    """The acceptance of a cylindrical scanner."""
    return Acceptance(
        scanner.crystals_per_ring,
        scanner.rings,
        scanner.max_ring_difference,
        scanner.tof_half_bins,
        scanner.min_crystal_difference,
    )


@nb.njit(nogil=True, fastmath=True, error_model="numpy")
def trace(ray, x, y, z, phi, cosine, geometry, acceptance):  # type: ignore[no-untyped-def]
    """Fill the `RAY` of a line through (x, y, z); whether it meets two rings in coincidence.

    End 1 lies in the direction (phi, cosine), end 0 opposite.
    """
    half_axial = geometry.half_axial_mm
    cos_phi = math.cos(phi)
    sin_phi = math.sin(phi)
    sine = math.sqrt(1 - cosine * cosine)

    # across the axis, the line passes the centre at `aside`, and ends half a chord before and after
    forward = x * cos_phi + y * sin_phi
    aside = y * cos_phi - x * sin_phi
    half_chord2 = geometry.radius_mm * geometry.radius_mm - aside * aside
    half_chord = math.sqrt(max(half_chord2, 0.0))
    rise = cosine / sine
    z0 = z - rise * (half_chord + forward)
    z1 = z + rise * (half_chord - forward)
    ring0 = math.floor((z0 + half_axial) / geometry.ring_pitch_mm)
    ring1 = math.floor((z1 + half_axial) / geometry.ring_pitch_mm)

    ray.cos_phi = cos_phi
    ray.sin_phi = sin_phi
    ray.sine = sine
    ray.forward = forward
    ray.aside = aside
    ray.ring0 = ring0
    ray.ring1 = ring1

    seen = half_chord2 > 0
    seen &= (ring0 >= 0) & (ring0 < acceptance.rings)
    seen &= (ring1 >= 0) & (ring1 < acceptance.rings)
    return seen & (abs(ring0 - ring1) <= acceptance.max_ring_difference)


@nb.njit(nogil=True, fastmath=True, error_model="numpy")
def record(event, ray, phi, geometry, acceptance, state):  # type: ignore[no-untyped-def]
    """Write the event of a pair on a ray; False outside the field of view or the TOF bins."""
    n_crystals = acceptance.crystals_per_ring

    # both ends lie the same angle off the line's direction
    off = math.asin(ray.aside / geometry.radius_mm)
    crystals_per_radian = n_crystals / (2 * math.pi)
    crystal1 = int((phi + off + 2 * math.pi) * crystals_per_radian) % n_crystals
    crystal0 = int((phi - off + 3 * math.pi) * crystals_per_radian) % n_crystals
    gap = abs(crystal0 - crystal1)
    if min(gap, n_crystals - gap) < acceptance.min_crystal_difference:
        return False

    # TOF counts from the LOR's middle
    along = ray.forward / ray.sine + geometry.tof_sigma_mm * normal(state)
    tof = math.floor(along / geometry.tof_bin_mm + 0.5)
    if abs(tof) > acceptance.tof_half_bins:
        return False

    det0 = ray.ring0 * n_crystals + crystal0
    det1 = ray.ring1 * n_crystals + crystal1
    if uniform(state) < 0.5:
        event.det0 = det0
        event.det1 = det1
        event.tof = int(tof)
    else:
        event.det0 = det1
        event.det1 = det0
        event.tof = -int(tof)

    return True
