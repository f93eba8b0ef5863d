"""Kernels of Joseph's method (Joseph 1982) on one thread; the arithmetic of one LOR is plain
Python, shared with CUDA.

An LOR is sampled where it crosses the voxel planes of its main axis k; u and v are the axes across.
Images carry a border of one zero voxel, so that bilinear interpolation needs no checks. Positions
along an LOR are found in float64 and followed in float32: half the memory and twice the SIMD lanes,
at an error of 1e-5 voxels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba as nb
import numpy as np

BLOCK = 16  # crossings computed at once: a loop of whole blocks vectorises without a slow remainder


class Line(NamedTuple):
    """Where an LOR crosses the planes m = 0 .. n - 1 that it shares with the image and its TOF
    window.

    Flat index of the padded voxel (m, 0, 0): base + m * stride_k; padded positions across: u + m *
    du, v + m * dv (voxels); distance from the TOF bin's centre: t + m * dt (mm). n <= 0: no
    crossing.
    """

    n: int
    base: int
    stride_k: int
    stride_u: int
    stride_v: int
    u: float
    du: float
    v: float
    dv: float
    t: float
    dt: float


def line_of(shape, voxel, detectors, det0, det1, centre, reach):  # type: ignore[no-untyped-def]
    """The `Line` between two detectors within `reach` mm of `centre` (mm from the LOR's middle
    towards detector 1).

    `shape` is the padded image's; `voxel` (3,) and `detectors` (n, 3) in mm.
    """
    p0, p1, p2 = (
        np.float64(detectors[det0, 0]),
        np.float64(detectors[det0, 1]),
        np.float64(detectors[det0, 2]),
    )
    d0, d1, d2 = detectors[det1, 0] - p0, detectors[det1, 1] - p1, detectors[det1, 2] - p2
    m0, m1, m2 = p0 + 0.5 * d0, p1 + 0.5 * d1, p2 + 0.5 * d2
    length = math.sqrt(d0 * d0 + d1 * d1 + d2 * d2)
    if length == 0.0:
        return Line(0, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    s0, s1, s2 = shape[1] * shape[2], shape[2], 1
    n0, n1, n2 = shape[0] - 2, shape[1] - 2, shape[2] - 2
    if abs(d0) >= abs(d1) and abs(d0) >= abs(d2):
        dk, mk, sk, nk, hk = d0, m0, s0, n0, voxel[0]
        du, mu, su, nu, hu = d1, m1, s1, n1, voxel[1]
        dv, mv, sv, nv, hv = d2, m2, s2, n2, voxel[2]
    elif abs(d1) >= abs(d2):
        dk, mk, sk, nk, hk = d1, m1, s1, n1, voxel[1]
        du, mu, su, nu, hu = d0, m0, s0, n0, voxel[0]
        dv, mv, sv, nv, hv = d2, m2, s2, n2, voxel[2]
    else:
        dk, mk, sk, nk, hk = d2, m2, s2, n2, voxel[2]
        du, mu, su, nu, hu = d0, m0, s0, n0, voxel[0]
        dv, mv, sv, nv, hv = d1, m1, s1, n1, voxel[1]
    # distance from the LOR's middle at plane m: t + m * dt; padded positions across: u + m * gu, v
    # + m * gv
    dt = hk * length / dk
    t = (-0.5 * (nk - 1) * hk - mk) / dk * length
    gu, gv = hk * du / (dk * hu), hk * dv / (dk * hv)
    u = (mu + t * du / length) / hu + 0.5 * (nu + 1)
    v = (mv + t * dv / length) / hv + 0.5 * (nv + 1)
    # planes within the TOF window, and within the border on both axes across, less what float32 may
    # err; no min and max, which numba's own CUDA target does not compile
    lo, hi = 0.0, nk - 1.0
    tu, tv = 1e-6 * (nu + nk), 1e-6 * (nv + nk)
    for x, g, low, high in (
        (t, dt, centre - reach, centre + reach),
        (u, gu, tu, nu + 1 - tu),
        (v, gv, tv, nv + 1 - tv),
    ):
        if abs(g) > 1e-9:
            mid, half = (0.5 * (low + high) - x) / g, 0.5 * (high - low) / abs(g)
            lo = mid - half if mid - half > lo else lo
            hi = mid + half if mid + half < hi else hi
        elif x < low or x > high:
            hi = -1.0
    first = int(math.ceil(lo))
    n = int(math.floor(hi)) - first + 1
    return Line(
        n,
        (first + 1) * sk,
        sk,
        su,
        sv,
        u + first * gu,
        gu,
        v + first * gv,
        gv,
        t + first * dt - centre,
        dt,
    )


def place(line, m, per_mm):  # type: ignore[no-untyped-def]
    """Crossing m: flat index of its lower voxel, fractions of the way to the next ones, entry of
    the TOF table.
    """
    x = np.float32(m)
    u = np.float32(line.u) + x * np.float32(line.du)
    v = np.float32(line.v) + x * np.float32(line.dv)
    i, j = np.int32(u), np.int32(v)
    index = np.int32(line.base) + np.int32(m) * np.int32(line.stride_k)
    index += i * np.int32(line.stride_u) + j * np.int32(line.stride_v)
    from_centre = np.float32(line.t * per_mm) + x * np.float32(line.dt * per_mm)
    return index, u - np.float32(i), v - np.float32(j), np.int32(abs(from_centre) + np.float32(0.5))


_line_of = nb.njit(inline="always")(line_of)
_place = nb.njit(inline="always")(place)


@nb.njit(inline="always")
def _scratch(shape):  # type: ignore[no-untyped-def]
    n = max(shape) + BLOCK
    return (
        np.empty(n, np.int32),
        np.empty(n, np.float32),
        np.empty(n, np.float32),
        np.empty(n, np.int32),
        np.empty(n, np.float32),
    )


@nb.njit(inline="always")
def _trace(line, per_mm, scratch):  # type: ignore[no-untyped-def]
    index, fu, fv, entry, _ = scratch
    for m in range((line.n + BLOCK - 1) // BLOCK * BLOCK):
        index[m], fu[m], fv[m], entry[m] = _place(line, m, per_mm)


@nb.njit(inline="always")
def _weigh(n, table, scratch):  # type: ignore[no-untyped-def]
    _, _, _, entry, weight = scratch
    for m in range(n):
        weight[m] = table[np.uint32(entry[m])]


# indices are unsigned below: numba turns negative ones around, which costs a comparison at every
# access


@nb.njit(inline="always")
def _gather(flat, line, table, scratch):  # type: ignore[no-untyped-def]
    """The line's sum over its crossings, in steps; leaves the TOF weights in the scratch for
    `_scatter`.
    """
    index, fu, fv, entry, weight = scratch
    su, sv = np.uint64(line.stride_u), np.uint64(line.stride_v)
    total = flat.dtype.type(0)
    for m in range(line.n):
        i = np.uint64(index[m])
        near, far = flat[i], flat[i + su]
        near += fv[m] * (flat[i + sv] - near)
        far += fv[m] * (flat[i + su + sv] - far)
        weight[m] = table[np.uint32(entry[m])]
        total += weight[m] * (near + fu[m] * (far - near))
    return total


@nb.njit(inline="always")
def _scatter(flat, line, value, scratch):  # type: ignore[no-untyped-def]
    index, fu, fv, _, weight = scratch
    su, sv = np.uint64(line.stride_u), np.uint64(line.stride_v)
    value = flat.dtype.type(value)
    for m in range(line.n):
        i = np.uint64(index[m])
        near = weight[m] * value
        far = near * fu[m]
        near -= far
        near_v, far_v = near * fv[m], far * fv[m]
        flat[i] += near - near_v
        flat[i + sv] += near_v
        flat[i + su] += far - far_v
        flat[i + su + sv] += far_v


@nb.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def forward(image, det0, det1, tof, out, detectors, voxel, step_mm, table, per_mm, reach):  # type: ignore[no-untyped-def]
    """Line integrals `out` (n,) of the padded `image`."""
    flat, scratch = image.ravel(), _scratch(image.shape)
    for e in range(out.size):
        line = _line_of(image.shape, voxel, detectors, det0[e], det1[e], tof[e] * step_mm, reach)
        _trace(line, per_mm, scratch)
        out[e] = abs(line.dt) * _gather(flat, line, table, scratch)


@nb.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def back(image, det0, det1, tof, values, detectors, voxel, step_mm, table, per_mm, reach):  # type: ignore[no-untyped-def]
    """Add the adjoint of `forward`, applied to `values` (n,), to the padded `image`."""
    flat, scratch = image.ravel(), _scratch(image.shape)
    for e in range(values.size):
        line = _line_of(image.shape, voxel, detectors, det0[e], det1[e], tof[e] * step_mm, reach)
        _trace(line, per_mm, scratch)
        _weigh(line.n, table, scratch)
        _scatter(flat, line, abs(line.dt) * values[e], scratch)


@nb.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def em_back(image, events, additive, out, detectors, voxel, step_mm, table, per_mm, reach):  # type: ignore[no-untyped-def]
    """Add the back projection of 1 / (forward + additive) of `events` (n,) to the padded `out`."""
    flat, target, scratch = image.ravel(), out.ravel(), _scratch(image.shape)
    for e in range(events.size):
        event = events[e]
        line = _line_of(
            image.shape, voxel, detectors, event.det0, event.det1, event.tof * step_mm, reach
        )
        _trace(line, per_mm, scratch)
        step = abs(line.dt)
        expected = step * _gather(flat, line, table, scratch) + additive[e]
        if expected > 0:
            _scatter(target, line, step / expected, scratch)


@nb.njit(cache=True, nogil=True)
def add_parts(parts, out, first, last):  # type: ignore[no-untyped-def]
    """Planes `first` to `last` of `out` (X, Y, Z): the sum of the padded images `parts`, always in
    the same order.
    """
    _, ny, nz = out.shape
    for i in range(first, last):
        for j in range(ny):
            for k in range(nz):
                total = parts[0, i + 1, j + 1, k + 1]
                for part in range(1, parts.shape[0]):
                    total += parts[part, i + 1, j + 1, k + 1]
                out[i, j, k] = total


@nb.njit(cache=True, nogil=True, error_model="numpy")
def place_keys(events, detectors, step_mm, shape, voxel, cell):  # type: ignore[no-untyped-def]
    """Keys (n,) of events, and their number: which cube of `cell` voxels an event's TOF bin lies
    in, and one of eight directions across the axis.
    """
    nx, ny, nz = (shape[0] - 1) // cell + 1, (shape[1] - 1) // cell + 1, (shape[2] - 1) // cell + 1
    key = np.empty(events.size, np.int32)
    for e in range(events.size):
        event = events[e]
        p, q = detectors[event.det0], detectors[event.det1]
        d0, d1, d2 = q[0] - p[0], q[1] - p[1], q[2] - p[2]
        length = math.sqrt(d0 * d0 + d1 * d1 + d2 * d2)
        along = 0.5 + (event.tof * step_mm / length if length > 0 else 0.0)
        x = ((p[0] + along * d0) / voxel[0] + 0.5 * shape[0]) / cell
        y = ((p[1] + along * d1) / voxel[1] + 0.5 * shape[1]) / cell
        z = ((p[2] + along * d2) / voxel[2] + 0.5 * shape[2]) / cell
        steep = abs(d1) > abs(d0)
        slope = d0 / d1 if steep else (d1 / d0 if d0 != 0 else 0.0)
        direction = int(2 + 2 * slope) + (4 if steep else 0)  # 45 degrees joins the steep ones
        i, j, k = (
            min(max(int(x), 0), nx - 1),
            min(max(int(y), 0), ny - 1),
            min(max(int(z), 0), nz - 1),
        )
        key[e] = ((i * ny + j) * nz + k) * 8 + direction
    return key, nx * ny * nz * 8


@nb.njit(cache=True, nogil=True)
def counting_sort(key, n_keys):  # type: ignore[no-untyped-def]
    """The stable permutation (n,) that sorts `key` (n,), numbers below `n_keys`."""
    start = np.zeros(n_keys + 1, np.int64)
    for k in key:
        start[k + 1] += 1
    for k in range(n_keys):
        start[k + 1] += start[k]
    order = np.empty(key.size, np.int64)
    for e in range(key.size):
        order[start[key[e]]] = e
        start[key[e]] += 1
    return order


def pad(image: np.ndarray) -> np.ndarray:
    """The image with a border of one zero voxel, so that interpolation needs no checks."""
    return np.pad(image, 1)


def unpad(image: np.ndarray) -> np.ndarray:
    """The inverse of `pad`; what was put into the border is dropped, as `forward` reads zeros
    there.
    """
    return np.ascontiguousarray(image[1:-1, 1:-1, 1:-1])
