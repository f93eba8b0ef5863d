"""The kernels of the Monte Carlo simulation: emissions, detection, attenuation, randoms; compiled
by numba.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba as nb
import numpy as np

from ..runtime.compiled import njit
from ..scanner.cylinder import Scanner


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


def acceptance_of(scanner: Scanner) -> Acceptance:
    """The acceptance of a cylindrical scanner."""
    return Acceptance(
        scanner.crystals_per_ring,
        scanner.rings,
        scanner.max_ring_difference,
        scanner.tof_half_bins,
        scanner.min_crystal_difference,
    )


@nb.njit(inline="always")
def _random(state):  # type: ignore[no-untyped-def]
    """Uniform in (0, 1): splitmix64 (Steele, Lea, Flood 2014)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)

    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))

    return (np.float64(z >> np.uint64(11)) + 0.5) * (1.0 / 9007199254740992.0)


@nb.njit(inline="always")
def _normals(state):  # type: ignore[no-untyped-def]
    """Two standard normals (Box and Muller 1958)."""
    radius = math.sqrt(-2.0 * math.log(_random(state)))
    angle = 2.0 * math.pi * _random(state)

    return radius * math.cos(angle), radius * math.sin(angle)


@nb.njit(inline="always")
def _crystal_at(x, y, n_crystals):  # type: ignore[no-untyped-def]
    """Number within its ring of the crystal at a point of the cylinder."""
    crystals_per_radian = n_crystals / (2 * math.pi)
    angle = math.atan2(y, x) + 2 * math.pi

    return int(angle * crystals_per_radian) % n_crystals


@njit(nogil=True, fastmath=True)
def _detect(  # type: ignore[no-untyped-def]
    x, y, z, mu, voxel, attenuated, cos_max, geometry, acceptance, state, events, n
):
    """Send a pair from (x, y, z); if both photons are seen, write event `n` and return True."""
    half_axial = geometry.half_axial_mm
    pitch = geometry.ring_pitch_mm
    n_crystals = acceptance.crystals_per_ring
    n_rings = acceptance.rings

    # isotropic, but no steeper than can hit detectors at both ends
    cos_theta = cos_max * (2 * _random(state) - 1)
    sin_theta = math.sqrt(1 - cos_theta * cos_theta)
    phi = 2 * math.pi * _random(state)

    dx = sin_theta * math.cos(phi)
    dy = sin_theta * math.sin(phi)
    dz = cos_theta

    # the line meets the cylinder at t with t^2 + 2 b t + c = 0
    b = (x * dx + y * dy) / (sin_theta * sin_theta)
    c = (x * x + y * y - geometry.radius_mm * geometry.radius_mm) / (sin_theta * sin_theta)
    root = b * b - c
    if root <= 0:
        return False

    root = math.sqrt(root)
    near = -b - root
    far = -b + root

    z0 = z + near * dz
    z1 = z + far * dz
    if abs(z0) >= half_axial or abs(z1) >= half_axial:
        return False

    ring0 = int((z0 + half_axial) / pitch)
    ring1 = int((z1 + half_axial) / pitch)
    if abs(ring0 - ring1) > acceptance.max_ring_difference:
        return False
    if ring0 >= n_rings or ring1 >= n_rings:
        return False

    if attenuated and not _survives(
        x,
        y,
        z,
        dx,
        dy,
        dz,
        mu,
        voxel,
        state,
    ):
        return False

    crystal0 = _crystal_at(x + near * dx, y + near * dy, n_crystals)
    crystal1 = _crystal_at(x + far * dx, y + far * dy, n_crystals)
    gap = abs(crystal0 - crystal1)
    if min(gap, n_crystals - gap) < acceptance.min_crystal_difference:
        return False

    # TOF counts from the LOR's middle, which lies `middle` along the direction
    middle = 0.5 * (far + near)
    normal, _ = _normals(state)
    tof = math.floor((-middle + geometry.tof_sigma_mm * normal) / geometry.tof_bin_mm + 0.5)
    if abs(tof) > acceptance.tof_half_bins:
        return False

    events[n].det0 = ring0 * n_crystals + crystal0
    events[n].det1 = ring1 * n_crystals + crystal1
    events[n].tof = int(tof)
    return True


@njit(nogil=True, fastmath=True)
def _survives(x, y, z, dx, dy, dz, mu, voxel, state):  # type: ignore[no-untyped-def]
    """Whether a pair leaves the body: walk both ways until a free path of -ln(u) is used up."""
    left = -math.log(_random(state))
    nx, ny, nz = mu.shape

    step = voxel[0] if voxel[0] < voxel[2] else voxel[2]
    offset = _random(state)

    for way in (1.0, -1.0):
        # one step in voxels
        step_u = way * dx * step / voxel[0]
        step_v = way * dy * step / voxel[1]
        step_w = way * dz * step / voxel[2]

        start = offset if way > 0 else 1.0 - offset
        u = x / voxel[0] + 0.5 * nx + start * step_u
        v = y / voxel[1] + 0.5 * ny + start * step_v
        w = z / voxel[2] + 0.5 * nz + start * step_w

        while 0 <= u < nx and 0 <= v < ny and 0 <= w < nz:
            left -= mu[int(u), int(v), int(w)] * step
            if left < 0:
                return False

            u += step_u
            v += step_v
            w += step_w

    return True


@njit(nogil=True, fastmath=True)
def emit_voxels(  # type: ignore[no-untyped-def]
    events, mean, cdf, voxels, steep, shape, voxel, mu, mu_voxel, geometry, acceptance, state
):
    """Poisson emissions (`mean` expected) from a voxel distribution; returns the number of events
    written.

    `voxels` (n,) are flat indices of the voxels with activity, `cdf` (n,) their cumulative
    distribution, `steep` (n,) the largest |cos| of a direction from each. Exponential steps along
    the cumulative distribution visit the voxels in order, which needs no search.
    """
    nx, ny, nz = shape
    n_events = 0
    current = 0
    position = 0.0

    while True:
        position -= math.log(_random(state)) / mean
        while current < cdf.size and cdf[current] < position:
            current += 1

        if current >= cdf.size or n_events >= events.size:
            return n_events

        index = voxels[current]
        i = index // (ny * nz)
        j = (index // nz) % ny
        k = index % nz

        x = (i + _random(state) - 0.5 * nx) * voxel[0]
        y = (j + _random(state) - 0.5 * ny) * voxel[1]
        z = (k + _random(state) - 0.5 * nz) * voxel[2]

        # the point spread function, wider at larger radius
        widening = 1 + geometry.psf_growth_per_mm * math.sqrt(x * x + y * y)
        sigma = geometry.psf_sigma_mm * widening
        normal_x, normal_y = _normals(state)
        normal_z, _ = _normals(state)
        x += sigma * normal_x
        y += sigma * normal_y
        z += sigma * normal_z

        cos_max = steep[current]
        if _detect(
            x,
            y,
            z,
            mu,
            mu_voxel,
            True,
            cos_max,
            geometry,
            acceptance,
            state,
            events,
            n_events,
        ):
            n_events += 1


@njit(nogil=True, fastmath=True)
def emit_gaussian(  # type: ignore[no-untyped-def]
    events, mean, centre, sigma, cos_max, geometry, acceptance, state
):
    """Poisson emissions from a Gaussian source without attenuation; returns the number of events
    written.
    """
    n_events = 0
    if mean <= 0:  # scatter_fraction = 0
        return n_events

    no_mu = np.zeros((1, 1, 1), np.float32)
    position = 0.0

    while True:
        position -= math.log(_random(state)) / mean
        if position > 1 or n_events >= events.size:
            return n_events

        normal_x, normal_y = _normals(state)
        normal_z, _ = _normals(state)
        x = centre[0] + sigma[0] * normal_x
        y = centre[1] + sigma[1] * normal_y
        z = centre[2] + sigma[2] * normal_z

        if _detect(
            x,
            y,
            z,
            no_mu,
            sigma,
            False,
            cos_max,
            geometry,
            acceptance,
            state,
            events,
            n_events,
        ):
            n_events += 1


@njit(nogil=True)
def emit_randoms(events, acceptance, state):  # type: ignore[no-untyped-def]
    """Fill `events` with events uniform over accepted LORs and TOF bins."""
    n_crystals = acceptance.crystals_per_ring
    n_rings = acceptance.rings
    n_tof_bins = 2 * acceptance.tof_half_bins + 1

    for n in range(events.size):
        while True:
            crystal0 = int(_random(state) * n_crystals)
            crystal1 = int(_random(state) * n_crystals)
            ring0 = int(_random(state) * n_rings)
            ring1 = int(_random(state) * n_rings)

            gap = abs(crystal0 - crystal1)
            gap = min(gap, n_crystals - gap)
            if (
                gap >= acceptance.min_crystal_difference
                and abs(ring0 - ring1) <= acceptance.max_ring_difference
            ):
                break

        events[n].det0 = ring0 * n_crystals + crystal0
        events[n].det1 = ring1 * n_crystals + crystal1
        events[n].tof = int(_random(state) * n_tof_bins) - acceptance.tof_half_bins
