"""Kernels of Joseph's method (Joseph 1982) on one thread; the arithmetic of one LOR is plain
Python, shared with CUDA.

An LOR is sampled where it crosses the voxel planes of its main axis; u and v are the axes across.
Images carry a border of one zero voxel, so that bilinear interpolation needs no checks. Positions
along an LOR are computed in float64 and followed in float32: half the memory and twice the SIMD
lanes, at an error of 1e-5 voxels. A line ends at its two detectors: voxels beyond take no part.

On the CPU, the lines of some events are found before any of them is projected: how many crossings
a line has is then known when its loops start, and the processor need not guess.

Kernels that are cached on disk take a plain tuple of `ProjectionGeometry`'s fields: numba's cache
names the classes of arguments, and fails to load where one was renamed since.

`forward`, `back` and `em_back` stand here for the CPU and in `projector_cuda` for the GPU: one
projector, two backends.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np

from ..runtime.compiled import njit
from .corners import CORNERS, gather_corners, scatter_corners
from .lines import Line, crossing, line_of

LINES_AT_ONCE = 32
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


class Scratch(NamedTuple):
    """Lines of some events, and of one line's crossings what `crossing` returns.

    `whole`, `real`: the fields of each `Line`, whole numbers and others. `corners`: the weights of
    the four voxels around each crossing. Kernels take the arrays out of it once: numba counts
    references to an array whenever it is taken out of a tuple.
    """

    whole: np.ndarray
    real: np.ndarray
    voxel: np.ndarray
    entry: np.ndarray
    fraction_u: np.ndarray
    fraction_v: np.ndarray
    weight: np.ndarray
    corners: np.ndarray


_line_of = nb.njit(inline="always")(line_of)
_crossing = nb.njit(inline="always")(crossing)


@nb.njit(inline="always")
def _scratch(shape):  # type: ignore[no-untyped-def]
    n = max(shape) + CROSSINGS_AT_ONCE

    return Scratch(
        np.empty((LINES_AT_ONCE, 5), np.int32),
        np.empty((LINES_AT_ONCE, 6)),
        np.empty(n, np.int32),
        np.empty(n, np.int32),
        np.empty(n, np.float32),
        np.empty(n, np.float32),
        np.ones(n, np.float32),
        np.empty(n * CORNERS, np.float32),
    )


@nb.njit(inline="always")
def _keep_line(whole, real, number, line):  # type: ignore[no-untyped-def]
    """Put a line into the scratch."""
    whole[number, 0] = line.n
    whole[number, 1] = line.base
    whole[number, 2] = line.stride_k
    whole[number, 3] = line.stride_u
    whole[number, 4] = line.stride_v

    real[number, 0] = line.u
    real[number, 1] = line.du
    real[number, 2] = line.v
    real[number, 3] = line.dv
    real[number, 4] = line.t
    real[number, 5] = line.dt


@nb.njit(inline="always")
def _kept_line(whole, real, number):  # type: ignore[no-untyped-def]
    """A line from the scratch."""
    return Line(
        int(whole[number, 0]),
        int(whole[number, 1]),
        int(whole[number, 2]),
        int(whole[number, 3]),
        int(whole[number, 4]),
        real[number, 0],
        real[number, 1],
        real[number, 2],
        real[number, 3],
        real[number, 4],
        real[number, 5],
    )


@nb.njit(inline="always")
def _trace(  # type: ignore[no-untyped-def]
    line, per_mm, tof_weights, voxel, entry, fraction_u, fraction_v, weight, corners
):
    """Write the line's crossings and the weights of the voxels around them into the scratch."""
    n_blocks = (line.n + CROSSINGS_AT_ONCE - 1) // CROSSINGS_AT_ONCE

    for m in range(n_blocks * CROSSINGS_AT_ONCE):
        voxel[m], fraction_u[m], fraction_v[m], entry[m] = _crossing(line, m, per_mm)

    # indices are unsigned here and below: numba turns negative ones around, which costs a
    # comparison at every access
    n_weights = line.n if per_mm > 0 else 0  # without TOF, the scratch holds 1 for all
    for m in range(n_weights):
        weight[m] = tof_weights[np.uint32(entry[m])]

    for m in range(line.n):
        far = weight[m] * fraction_u[m]
        near = weight[m] - far
        near_v = near * fraction_v[m]
        far_v = far * fraction_v[m]

        corner = CORNERS * m
        corners[corner] = near - near_v
        corners[corner + 1] = near_v
        corners[corner + 2] = far - far_v
        corners[corner + 3] = far_v


@njit(nogil=True, fastmath=True, error_model="numpy")
def forward(image, det0, det1, tof, integrals, geometry_fields):  # type: ignore[no-untyped-def]
    """Write the line integrals (n,) of the padded `image` into `integrals`."""
    detectors_mm, voxel_mm, step_mm, tof_weights, per_mm, reach_mm = geometry_fields
    whole, real, voxel, entry, fraction_u, fraction_v, weight, corners = _scratch(image.shape)
    shape = image.shape
    flat = image.ravel()

    for start in range(0, integrals.size, LINES_AT_ONCE):
        n_lines = min(LINES_AT_ONCE, integrals.size - start)

        for i in range(n_lines):
            e = start + i
            centre_mm = tof[e] * step_mm
            line = _line_of(shape, voxel_mm, detectors_mm, det0[e], det1[e], centre_mm, reach_mm)
            _keep_line(whole, real, i, line)

        for i in range(n_lines):
            line = _kept_line(whole, real, i)
            _trace(line, per_mm, tof_weights, voxel, entry, fraction_u, fraction_v, weight, corners)
            integrals[start + i] = abs(line.dt) * gather_corners(
                flat, voxel, corners, line.n, line.stride_u, line.stride_v
            )


@njit(nogil=True, fastmath=True, error_model="numpy")
def back(image, det0, det1, tof, values, geometry_fields):  # type: ignore[no-untyped-def]
    """Add the adjoint of `forward`, applied to `values` (n,), to the padded `image`."""
    detectors_mm, voxel_mm, step_mm, tof_weights, per_mm, reach_mm = geometry_fields
    whole, real, voxel, entry, fraction_u, fraction_v, weight, corners = _scratch(image.shape)
    shape = image.shape
    flat = image.ravel()

    for start in range(0, values.size, LINES_AT_ONCE):
        n_lines = min(LINES_AT_ONCE, values.size - start)

        for i in range(n_lines):
            e = start + i
            centre_mm = tof[e] * step_mm
            line = _line_of(shape, voxel_mm, detectors_mm, det0[e], det1[e], centre_mm, reach_mm)
            _keep_line(whole, real, i, line)

        for i in range(n_lines):
            line = _kept_line(whole, real, i)
            _trace(line, per_mm, tof_weights, voxel, entry, fraction_u, fraction_v, weight, corners)
            value = flat.dtype.type(abs(line.dt) * values[start + i])
            scatter_corners(flat, voxel, corners, line.n, line.stride_u, line.stride_v, value)


@njit(nogil=True, fastmath=True, error_model="numpy")
def em_back(image, events, additive, target, geometry_fields):  # type: ignore[no-untyped-def]
    """Add the back projection of 1 / (forward + additive) of `events` (n,) to padded `target`."""
    detectors_mm, voxel_mm, step_mm, tof_weights, per_mm, reach_mm = geometry_fields
    whole, real, voxel, entry, fraction_u, fraction_v, weight, corners = _scratch(image.shape)
    shape = image.shape
    flat = image.ravel()
    flat_target = target.ravel()

    for start in range(0, events.size, LINES_AT_ONCE):
        n_lines = min(LINES_AT_ONCE, events.size - start)

        for i in range(n_lines):
            event = events[start + i]
            centre_mm = event.tof * step_mm
            line = _line_of(
                shape, voxel_mm, detectors_mm, event.det0, event.det1, centre_mm, reach_mm
            )
            _keep_line(whole, real, i, line)

        for i in range(n_lines):
            line = _kept_line(whole, real, i)
            _trace(line, per_mm, tof_weights, voxel, entry, fraction_u, fraction_v, weight, corners)
            plane_mm = abs(line.dt)
            integral = plane_mm * gather_corners(
                flat, voxel, corners, line.n, line.stride_u, line.stride_v
            )
            expected = integral + additive[start + i]

            # in one flow for all events: numba counts references where a branch takes arrays
            value = flat.dtype.type(plane_mm / expected)
            n = line.n if expected > 0 else 0
            scatter_corners(flat_target, voxel, corners, n, line.stride_u, line.stride_v, value)


@njit(nogil=True)
def add_part(padded, image):  # type: ignore[no-untyped-def]
    """Add a padded image, without its border, to `image` (X, Y, Z)."""
    nx, ny, nz = image.shape

    for i in range(nx):
        for j in range(ny):
            for k in range(nz):
                image[i, j, k] += padded[i + 1, j + 1, k + 1]


def pad(image: np.ndarray) -> np.ndarray:
    """The image with a border of one zero voxel, so that interpolation needs no checks."""
    return np.pad(image, 1)


def unpad(image: np.ndarray) -> np.ndarray:
    """The inverse of `pad`: drops what was put into the border, where `forward` reads zeros."""
    return np.ascontiguousarray(image[1:-1, 1:-1, 1:-1])
