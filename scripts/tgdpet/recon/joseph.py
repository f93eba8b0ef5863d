"""Kernels of Joseph's method (Joseph 1982) on one thread; the arithmetic of one LOR is plain
Python, shared with CUDA.

An LOR is sampled where it crosses the voxel planes of its main axis; u and v are the axes across.
Images carry a border of one zero voxel, so that bilinear interpolation needs no checks. Positions
along an LOR are computed in float64 and followed in float32: half the memory and twice the SIMD
lanes, at an error of 1e-5 voxels.

Kernels that are cached on disk take a plain tuple of `ProjectionGeometry`'s fields: numba's cache
names the classes of arguments, and fails to load where one was renamed since.

`forward`, `back` and `em_back` stand here for the CPU and in `projector_cuda` for the GPU: one
projector, two backends.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba as nb
import numpy as np

from ..runtime.compiled import njit

CROSSINGS_AT_ONCE = (
    16  # crossings computed at once: a loop of whole blocks vectorises without a slow remainder
)


class ProjectionGeometry(NamedTuple):
    """What projection needs of detectors, voxels and the TOF kernel (see `tof.TofTable`)."""

    detectors_mm: np.ndarray  # (n, 3) float32
    voxel_mm: np.ndarray  # (3,) float64
    tof_step_mm: float
    tof_weights: np.ndarray  # (k,) float32
    tof_per_mm: float
    tof_reach_mm: float


class Axis(NamedTuple):
    """An axis of the image and an LOR along it: lengths in mm, `stride` of the padded image."""

    direction: float
    middle: float
    stride: int
    n_voxels: int
    voxel: float


class Line(NamedTuple):
    """Where an LOR crosses the planes m = 0 .. n - 1 shared by the image and its TOF window.

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


class Scratch(NamedTuple):
    """One LOR's crossings: what `crossing` returns of each, and the TOF weights."""

    voxel: np.ndarray
    fraction_u: np.ndarray
    fraction_v: np.ndarray
    entry: np.ndarray
    weight: np.ndarray


def line_of(shape, voxel_mm, detectors_mm, det0, det1, centre_mm, reach_mm):  # type: ignore[no-untyped-def]
    """The `Line` between two detectors, within `reach_mm` of `centre_mm`.

    The centre counts from the LOR's middle towards detector 1. `shape` is the padded image's;
    `voxel_mm` (3,), `detectors_mm` (n, 3).
    """
    start0 = np.float64(detectors_mm[det0, 0])
    start1 = np.float64(detectors_mm[det0, 1])
    start2 = np.float64(detectors_mm[det0, 2])

    d0 = detectors_mm[det1, 0] - start0
    d1 = detectors_mm[det1, 1] - start1
    d2 = detectors_mm[det1, 2] - start2

    length = math.sqrt(d0 * d0 + d1 * d1 + d2 * d2)
    if length == 0.0:
        return Line(0, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)

    middle0 = start0 + 0.5 * d0
    middle1 = start1 + 0.5 * d1
    middle2 = start2 + 0.5 * d2

    x = Axis(d0, middle0, shape[1] * shape[2], shape[0] - 2, voxel_mm[0])
    y = Axis(d1, middle1, shape[2], shape[1] - 2, voxel_mm[1])
    z = Axis(d2, middle2, 1, shape[2] - 2, voxel_mm[2])

    # the main axis is the one along which the LOR is longest
    if abs(d0) >= abs(d1) and abs(d0) >= abs(d2):
        main, across_u, across_v = x, y, z
    elif abs(d1) >= abs(d2):
        main, across_u, across_v = y, x, z
    else:
        main, across_u, across_v = z, x, y

    # on plane m: t + m * dt mm from the LOR's middle
    dt = main.voxel * length / main.direction
    first_mm = -0.5 * (main.n_voxels - 1) * main.voxel
    t = (first_mm - main.middle) / main.direction * length

    # and at the padded positions u + m * du, v + m * dv
    du = main.voxel * across_u.direction / (main.direction * across_u.voxel)
    u = (across_u.middle + t * across_u.direction / length) / across_u.voxel
    u += 0.5 * (across_u.n_voxels + 1)

    dv = main.voxel * across_v.direction / (main.direction * across_v.voxel)
    v = (across_v.middle + t * across_v.direction / length) / across_v.voxel
    v += 0.5 * (across_v.n_voxels + 1)

    # planes within the TOF window, and within the border on both axes across, less what float32 may
    # err; no min and max, which numba's own CUDA target does not compile
    first_plane = 0.0
    last_plane = main.n_voxels - 1.0
    err_u = 1e-6 * (across_u.n_voxels + main.n_voxels)
    err_v = 1e-6 * (across_v.n_voxels + main.n_voxels)

    for start, slope, low, high in (
        (t, dt, centre_mm - reach_mm, centre_mm + reach_mm),
        (u, du, err_u, across_u.n_voxels + 1 - err_u),
        (v, dv, err_v, across_v.n_voxels + 1 - err_v),
    ):
        if abs(slope) > 1e-9:
            middle = (0.5 * (low + high) - start) / slope
            half = 0.5 * (high - low) / abs(slope)

            first_plane = middle - half if middle - half > first_plane else first_plane
            last_plane = middle + half if middle + half < last_plane else last_plane
        elif start < low or start > high:
            last_plane = -1.0

    first = int(math.ceil(first_plane))
    n = int(math.floor(last_plane)) - first + 1

    return Line(
        n,
        (first + 1) * main.stride,
        main.stride,
        across_u.stride,
        across_v.stride,
        u + first * du,
        du,
        v + first * dv,
        dv,
        t + first * dt - centre_mm,
        dt,
    )


def crossing(line, m, per_mm):  # type: ignore[no-untyped-def]
    """Crossing m of a line: flat index of its lower voxel, fractions of the way to the next ones
    along u and v, entry of the TOF table.
    """
    plane = np.float32(m)
    u = np.float32(line.u) + plane * np.float32(line.du)
    v = np.float32(line.v) + plane * np.float32(line.dv)

    i = np.int32(u)
    j = np.int32(v)
    fraction_u = u - np.float32(i)
    fraction_v = v - np.float32(j)

    stride_k = np.int32(line.stride_k)
    stride_u = np.int32(line.stride_u)
    stride_v = np.int32(line.stride_v)
    index = np.int32(line.base) + np.int32(m) * stride_k
    index += i * stride_u + j * stride_v

    # the table's entries count from the centre of the TOF bin
    start = np.float32(line.t * per_mm)
    slope = np.float32(line.dt * per_mm)
    from_centre = start + plane * slope
    entry = np.int32(abs(from_centre) + np.float32(0.5))

    return index, fraction_u, fraction_v, entry


_line_of = nb.njit(inline="always")(line_of)
_crossing = nb.njit(inline="always")(crossing)


@nb.njit(inline="always")
def _scratch(shape):  # type: ignore[no-untyped-def]
    n = max(shape) + CROSSINGS_AT_ONCE

    return Scratch(
        np.empty(n, np.int32),
        np.empty(n, np.float32),
        np.empty(n, np.float32),
        np.empty(n, np.int32),
        np.empty(n, np.float32),
    )


@nb.njit(inline="always")
def _trace(line, per_mm, scratch):  # type: ignore[no-untyped-def]
    n_blocks = (line.n + CROSSINGS_AT_ONCE - 1) // CROSSINGS_AT_ONCE

    for m in range(n_blocks * CROSSINGS_AT_ONCE):
        index, fraction_u, fraction_v, entry = _crossing(line, m, per_mm)

        scratch.voxel[m] = index
        scratch.fraction_u[m] = fraction_u
        scratch.fraction_v[m] = fraction_v
        scratch.entry[m] = entry


@nb.njit(inline="always")
def _weigh(n, table, scratch):  # type: ignore[no-untyped-def]
    for m in range(n):
        scratch.weight[m] = table[np.uint32(scratch.entry[m])]


# indices are unsigned below: numba turns negative ones around, which costs a comparison at every
# access


@nb.njit(inline="always")
def _gather(flat, line, table, scratch):  # type: ignore[no-untyped-def]
    """The line's sum over its crossings; leaves the TOF weights in the scratch for `_scatter`."""
    stride_u = np.uint64(line.stride_u)
    stride_v = np.uint64(line.stride_v)
    total = flat.dtype.type(0)

    for m in range(line.n):
        i = np.uint64(scratch.voxel[m])
        fraction_v = scratch.fraction_v[m]

        near = flat[i]
        far = flat[i + stride_u]
        near += fraction_v * (flat[i + stride_v] - near)
        far += fraction_v * (flat[i + stride_u + stride_v] - far)

        weight = table[np.uint32(scratch.entry[m])]
        scratch.weight[m] = weight
        total += weight * (near + scratch.fraction_u[m] * (far - near))

    return total


@nb.njit(inline="always")
def _scatter(flat, line, value, scratch):  # type: ignore[no-untyped-def]
    """The adjoint of `_gather`: add `value` to the voxels around the line's crossings."""
    stride_u = np.uint64(line.stride_u)
    stride_v = np.uint64(line.stride_v)
    value = flat.dtype.type(value)

    for m in range(line.n):
        i = np.uint64(scratch.voxel[m])

        near = scratch.weight[m] * value
        far = near * scratch.fraction_u[m]
        near -= far
        near_v = near * scratch.fraction_v[m]
        far_v = far * scratch.fraction_v[m]

        flat[i] += near - near_v
        flat[i + stride_v] += near_v
        flat[i + stride_u] += far - far_v
        flat[i + stride_u + stride_v] += far_v


@njit(nogil=True, fastmath=True, error_model="numpy")
def forward(image, det0, det1, tof, integrals, geometry_fields):  # type: ignore[no-untyped-def]
    """Write the line integrals (n,) of the padded `image` into `integrals`."""
    geometry = ProjectionGeometry(*geometry_fields)
    flat = image.ravel()
    scratch = _scratch(image.shape)

    for e in range(integrals.size):
        centre_mm = tof[e] * geometry.tof_step_mm
        line = _line_of(
            image.shape,
            geometry.voxel_mm,
            geometry.detectors_mm,
            det0[e],
            det1[e],
            centre_mm,
            geometry.tof_reach_mm,
        )

        _trace(line, geometry.tof_per_mm, scratch)
        plane_mm = abs(line.dt)
        integrals[e] = plane_mm * _gather(flat, line, geometry.tof_weights, scratch)


@njit(nogil=True, fastmath=True, error_model="numpy")
def back(image, det0, det1, tof, values, geometry_fields):  # type: ignore[no-untyped-def]
    """Add the adjoint of `forward`, applied to `values` (n,), to the padded `image`."""
    geometry = ProjectionGeometry(*geometry_fields)
    flat = image.ravel()
    scratch = _scratch(image.shape)

    for e in range(values.size):
        centre_mm = tof[e] * geometry.tof_step_mm
        line = _line_of(
            image.shape,
            geometry.voxel_mm,
            geometry.detectors_mm,
            det0[e],
            det1[e],
            centre_mm,
            geometry.tof_reach_mm,
        )

        _trace(line, geometry.tof_per_mm, scratch)
        _weigh(line.n, geometry.tof_weights, scratch)
        plane_mm = abs(line.dt)
        _scatter(flat, line, plane_mm * values[e], scratch)


@njit(nogil=True, fastmath=True, error_model="numpy")
def em_back(image, events, additive, target, geometry_fields):  # type: ignore[no-untyped-def]
    """Add the back projection of 1 / (forward + additive) of `events` (n,) to padded `target`."""
    geometry = ProjectionGeometry(*geometry_fields)
    flat = image.ravel()
    flat_target = target.ravel()
    scratch = _scratch(image.shape)

    for e in range(events.size):
        event = events[e]
        centre_mm = event.tof * geometry.tof_step_mm
        line = _line_of(
            image.shape,
            geometry.voxel_mm,
            geometry.detectors_mm,
            event.det0,
            event.det1,
            centre_mm,
            geometry.tof_reach_mm,
        )

        _trace(line, geometry.tof_per_mm, scratch)
        plane_mm = abs(line.dt)
        integral = plane_mm * _gather(flat, line, geometry.tof_weights, scratch)
        expected = integral + additive[e]

        if expected > 0:
            _scatter(flat_target, line, plane_mm / expected, scratch)


@njit(nogil=True)
def add_parts(parts, image, first, last):  # type: ignore[no-untyped-def]
    """Write the sum of padded images `parts` into planes `first` to `last` of `image` (X, Y, Z).

    The parts are added in the same order for any split into planes.
    """
    _, ny, nz = image.shape

    for i in range(first, last):
        for j in range(ny):
            for k in range(nz):
                total = parts[0, i + 1, j + 1, k + 1]
                for part in range(1, parts.shape[0]):
                    total += parts[part, i + 1, j + 1, k + 1]

                image[i, j, k] = total


def pad(image: np.ndarray) -> np.ndarray:
    """The image with a border of one zero voxel, so that interpolation needs no checks."""
    return np.pad(image, 1)


def unpad(image: np.ndarray) -> np.ndarray:
    """The inverse of `pad`: drops what was put into the border, where `forward` reads zeros."""
    return np.ascontiguousarray(image[1:-1, 1:-1, 1:-1])
