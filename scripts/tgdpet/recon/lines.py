"""Where an LOR crosses the voxel planes of its main axis: plain Python, for CPU and CUDA."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


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

    # on plane m: t + m * dt mm from the LOR's middle; divisions are dear, so each is done once
    per_main = 1 / main.direction
    dt = main.voxel * length * per_main
    plane_0_mm = -0.5 * (main.n_voxels - 1) * main.voxel
    from_middle = (plane_0_mm - main.middle) * per_main
    t = from_middle * length

    # and at the padded positions u + m * du, v + m * dv
    per_u = 1 / across_u.voxel
    slope_u = across_u.direction * per_u
    du = main.voxel * per_main * slope_u
    u = across_u.middle * per_u + from_middle * slope_u
    u += 0.5 * (across_u.n_voxels + 1)

    per_v = 1 / across_v.voxel
    slope_v = across_v.direction * per_v
    dv = main.voxel * per_main * slope_v
    v = across_v.middle * per_v + from_middle * slope_v
    v += 0.5 * (across_v.n_voxels + 1)

    # planes between the detectors, within the TOF window, and within the border on both axes
    # across, less what float32 may err; no min and max, which numba's CUDA target does not compile
    half_mm = 0.5 * length
    first_mm = centre_mm - reach_mm
    first_mm = first_mm if first_mm > -half_mm else -half_mm
    last_mm = centre_mm + reach_mm
    last_mm = last_mm if last_mm < half_mm else half_mm

    first_plane = 0.0
    last_plane = main.n_voxels - 1.0
    err_u = 1e-6 * (across_u.n_voxels + main.n_voxels)
    err_v = 1e-6 * (across_v.n_voxels + main.n_voxels)

    for start, slope, low, high in (
        (t, dt, first_mm, last_mm),
        (u, du, err_u, across_u.n_voxels + 1 - err_u),
        (v, dv, err_v, across_v.n_voxels + 1 - err_v),
    ):
        if abs(slope) > 1e-9:
            per_slope = 1 / slope
            middle = (0.5 * (low + high) - start) * per_slope
            half = 0.5 * (high - low) * abs(per_slope)

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
    plane = np.float32(np.int32(m))
    u = np.float32(line.u) + plane * np.float32(line.du)
    v = np.float32(line.v) + plane * np.float32(line.dv)

    i = np.int32(u)
    j = np.int32(v)
    fraction_u = u - np.float32(i)
    fraction_v = v - np.float32(j)

    # each step in 32 bits, as numba goes on in 64, which are half the SIMD lanes
    along_k = np.int32(np.int32(m) * np.int32(line.stride_k))
    along_u = np.int32(i * np.int32(line.stride_u))
    along_v = np.int32(j * np.int32(line.stride_v))
    index = np.int32(np.int32(line.base) + along_k)
    index = np.int32(index + along_u)
    index = np.int32(index + along_v)

    # the table's entries count from the centre of the TOF bin
    start = np.float32(line.t * per_mm)
    slope = np.float32(line.dt * per_mm)
    from_centre = start + plane * slope
    entry = np.int32(abs(from_centre) + np.float32(0.5))

    return index, fraction_u, fraction_v, entry
