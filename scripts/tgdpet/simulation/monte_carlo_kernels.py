"""The kernels of the Monte Carlo simulation: emissions, detection, attenuation, randoms; compiled
by numba.

`geo` holds radius, half the axial length, ring pitch, field-of-view radius, TOF sigma, TOF bin, PSF
sigma (all mm) and the PSF's growth per mm; `cnt` crystals a ring, rings, largest ring difference,
TOF half bins, smallest crystal difference.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np


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
    r = math.sqrt(-2.0 * math.log(_random(state)))
    a = 2.0 * math.pi * _random(state)
    return r * math.cos(a), r * math.sin(a)


@nb.njit(cache=True, nogil=True, fastmath=True)
def _detect(x, y, z, mu, voxel, attenuated, cos_max, geo, cnt, state, out, n):  # type: ignore[no-untyped-def]
    """Send a pair from (x, y, z); if both photons are seen, write event `n` and return True."""
    cos_theta = cos_max * (2 * _random(state) - 1)
    sin_theta = math.sqrt(1 - cos_theta * cos_theta)
    phi = 2 * math.pi * _random(state)
    dx, dy, dz = sin_theta * math.cos(phi), sin_theta * math.sin(phi), cos_theta
    b = (x * dx + y * dy) / (sin_theta * sin_theta)
    c = (x * x + y * y - geo[0] * geo[0]) / (sin_theta * sin_theta)
    root = b * b - c
    if root <= 0:
        return False
    root = math.sqrt(root)
    near, far = -b - root, -b + root
    z0, z1 = z + near * dz, z + far * dz
    if abs(z0) >= geo[1] or abs(z1) >= geo[1]:
        return False
    ring0, ring1 = int((z0 + geo[1]) / geo[2]), int((z1 + geo[1]) / geo[2])
    if abs(ring0 - ring1) > cnt[2] or ring0 >= cnt[1] or ring1 >= cnt[1]:
        return False
    if attenuated and not _survives(x, y, z, dx, dy, dz, mu, voxel, state):
        return False
    n_cry = cnt[0]
    step = n_cry / (2 * math.pi)
    a0 = math.atan2(y + near * dy, x + near * dx)
    a1 = math.atan2(y + far * dy, x + far * dx)
    c0 = int((a0 + 2 * math.pi) * step) % n_cry
    c1 = int((a1 + 2 * math.pi) * step) % n_cry
    gap = abs(c0 - c1)
    if min(gap, n_cry - gap) < cnt[4]:
        return False
    shift = 0.5 * (far + near)  # the LOR's middle, along the direction
    g0, _g1 = _normals(state)
    tof = math.floor((-shift + geo[4] * g0) / geo[5] + 0.5)
    if abs(tof) > cnt[3]:
        return False
    out[n].det0 = ring0 * n_cry + c0
    out[n].det1 = ring1 * n_cry + c1
    out[n].tof = int(tof)
    return True


@nb.njit(cache=True, nogil=True, fastmath=True)
def _survives(x, y, z, dx, dy, dz, mu, voxel, state):  # type: ignore[no-untyped-def]
    """Whether a pair leaves the body: walk both ways until a free path of -ln(u) is used up."""
    left = -math.log(_random(state))
    nx, ny, nz = mu.shape
    step = voxel[0] if voxel[0] < voxel[2] else voxel[2]
    offset = _random(state)
    for way in (1.0, -1.0):
        sx, sy, sz = (
            way * dx * step / voxel[0],
            way * dy * step / voxel[1],
            way * dz * step / voxel[2],
        )
        start = offset if way > 0 else 1.0 - offset
        u = x / voxel[0] + 0.5 * nx + start * sx
        v = y / voxel[1] + 0.5 * ny + start * sy
        w = z / voxel[2] + 0.5 * nz + start * sz
        while 0 <= u < nx and 0 <= v < ny and 0 <= w < nz:
            left -= mu[int(u), int(v), int(w)] * step
            if left < 0:
                return False
            u += sx
            v += sy
            w += sz
    return True


@nb.njit(cache=True, nogil=True, fastmath=True)
def emit_voxels(out, mean, cdf, voxels, steep, shape, voxel, mu, mu_voxel, geo, cnt, state):  # type: ignore[no-untyped-def]
    """Poisson emissions (`mean` expected) from a voxel distribution; returns the number of events
    written.

    Exponential steps along the cumulative distribution visit the voxels in order, which needs no
    search.
    """
    nx, ny, nz = shape
    n, place, at = 0, 0, 0.0
    while True:
        at -= math.log(_random(state)) / mean
        while place < cdf.size and cdf[place] < at:
            place += 1
        if place >= cdf.size or n >= out.size:
            return n
        index = voxels[place]
        i, j, k = index // (ny * nz), (index // nz) % ny, index % nz
        x = (i + _random(state) - 0.5 * nx) * voxel[0]
        y = (j + _random(state) - 0.5 * ny) * voxel[1]
        z = (k + _random(state) - 0.5 * nz) * voxel[2]
        sigma = geo[6] * (1 + geo[7] * math.sqrt(x * x + y * y))
        g0, g1 = _normals(state)
        g2, _g3 = _normals(state)
        x, y, z = x + sigma * g0, y + sigma * g1, z + sigma * g2
        if _detect(x, y, z, mu, mu_voxel, True, steep[place], geo, cnt, state, out, n):
            n += 1


@nb.njit(cache=True, nogil=True, fastmath=True)
def emit_gaussian(out, mean, centre, sigma, cos_max, geo, cnt, state):  # type: ignore[no-untyped-def]
    """Poisson emissions from a Gaussian source without attenuation; returns the number of events
    written.
    """
    n, at = 0, 0.0
    if mean <= 0:  # scatter_fraction = 0
        return n
    none = np.zeros((1, 1, 1), np.float32)
    while True:
        at -= math.log(_random(state)) / mean
        if at > 1 or n >= out.size:
            return n
        g0, g1 = _normals(state)
        g2, _g3 = _normals(state)
        x, y, z = centre[0] + sigma[0] * g0, centre[1] + sigma[1] * g1, centre[2] + sigma[2] * g2
        if _detect(x, y, z, none, sigma, False, cos_max, geo, cnt, state, out, n):
            n += 1


@nb.njit(cache=True, nogil=True)
def emit_randoms(out, cnt, state):  # type: ignore[no-untyped-def]
    """Fill `out` with events uniform over accepted LORs and TOF bins."""
    for n in range(out.size):
        while True:
            c0, c1 = int(_random(state) * cnt[0]), int(_random(state) * cnt[0])
            r0, r1 = int(_random(state) * cnt[1]), int(_random(state) * cnt[1])
            gap = abs(c0 - c1)
            if min(gap, cnt[0] - gap) >= cnt[4] and abs(r0 - r1) <= cnt[2]:
                break
        out[n].det0, out[n].det1 = r0 * cnt[0] + c0, r1 * cnt[0] + c1
        out[n].tof = int(_random(state) * (2 * cnt[3] + 1)) - cnt[3]
