"""List-mode projector pair, TOF and non-TOF: Joseph's method (Joseph 1982) with a Gaussian TOF kernel.

An LOR is sampled where it crosses the voxel planes of its main axis; between the four voxels around a
crossing the image is interpolated bilinearly. A sample at distance d from the centre of the event's TOF bin
has the weight erf((d + b/2) / (sqrt2 s)) / 2 - erf((d - b/2) / (sqrt2 s)) / 2 (b bin width, s sigma, both mm), cut at
3 sigma and divided by the kernel's integral, so that all TOF bins sum to the non-TOF value.

Images are (X, Y, Z) on a centred grid; projections are line integrals in image unit times mm. Work is cut
into a fixed number of parts with an accumulator each, so results do not depend on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba as nb
import numpy as np
from scipy.special import erf

from .config import Grid
from .scanner import Scanner

N_PARTS = 4
TABLE_STEP_MM = 0.125
SIGMAS = 3.0


@dataclass(frozen=True)
class Projector:
    """A scanner's detectors and an image grid; `threads` work at once."""

    scanner: Scanner
    grid: Grid
    threads: int = 1

    def __post_init__(self) -> None:
        scanner = self.scanner
        object.__setattr__(self, "_detectors", scanner.detector_mm())
        object.__setattr__(self, "_table", tof_table(scanner.tof_sigma_mm, scanner.tof_bin_mm))
        object.__setattr__(self, "_voxel", np.asarray(self.grid.voxel_mm, np.float64))

    def forward(
        self, image: np.ndarray, det0: np.ndarray, det1: np.ndarray, tof: np.ndarray | None = None
    ) -> np.ndarray:
        """Line integrals (n,) of `image` (X, Y, Z) for detector ids (n,) and TOF bins (n,); without bins, non-TOF."""
        padded = pad(self._checked(image))
        out = np.empty(len(det0), image.dtype)
        bins = _no_bins(len(det0)) if tof is None else tof

        def work(part: slice) -> None:
            _forward(padded, det0[part], det1[part], bins[part], tof is not None, out[part], *self._arrays())

        self._each(work, len(det0))
        return out

    def back(self, values: np.ndarray, det0: np.ndarray, det1: np.ndarray, tof: np.ndarray | None = None) -> np.ndarray:
        """The adjoint of `forward`: values (n,) spread into an image (X, Y, Z) of their dtype."""
        bins = _no_bins(len(det0)) if tof is None else tof

        def work(part: slice) -> np.ndarray:
            image = pad(np.zeros(self.grid.shape, values.dtype))
            _back(image, det0[part], det1[part], bins[part], tof is not None, values[part], *self._arrays())
            return image

        return unpad(_total(self._each(work, len(det0))))

    def em_back(self, image: np.ndarray, events: np.ndarray, additive: np.ndarray) -> np.ndarray:
        """Back projection of 1 / (forward + additive) of `events` in one pass over them; (X, Y, Z) float32.

        `additive` (n,) float32: expected background of each event divided by its LOR's attenuation and weight,
        in image unit times mm.
        """
        padded = pad(self._checked(image))

        def work(part: slice) -> np.ndarray:
            out = np.zeros_like(padded)
            _em_back(padded, events[part], additive[part], out, *self._arrays())
            return out

        return unpad(_total(self._each(work, len(events))))

    def _arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        return self._detectors, self._voxel, self._table, self.scanner.tof_bin_mm  # type: ignore[attr-defined]

    def _checked(self, image: np.ndarray) -> np.ndarray:
        if list(image.shape) != list(self.grid.shape):
            raise ValueError(f"projector: expected an image of shape {tuple(self.grid.shape)}, got {image.shape}")
        return image

    def _each(self, work: Callable[[slice], object], n: int) -> list:  # type: ignore[type-arg]
        bounds = np.linspace(0, n, N_PARTS + 1).astype(int)
        parts = [slice(a, b) for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
        if self.threads == 1:
            return [work(part) for part in parts]
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(work, parts))


def tof_table(sigma_mm: float, bin_mm: float) -> np.ndarray:
    """TOF weight against the distance from the bin's centre in steps of `TABLE_STEP_MM`, float32; ends with 0."""
    reach = SIGMAS * sigma_mm + bin_mm / 2
    d = np.arange(0, reach + TABLE_STEP_MM, TABLE_STEP_MM)
    scale = math.sqrt(2) * sigma_mm
    weight = 0.5 * (erf((d + bin_mm / 2) / scale) - erf((d - bin_mm / 2) / scale))
    weight[-1] = 0
    integral = 2 * TABLE_STEP_MM * (weight.sum() - weight[0] / 2) / bin_mm
    return (weight / integral).astype(np.float64)


def pad(image: np.ndarray) -> np.ndarray:
    """The image with a border of one zero voxel, so that interpolation needs no checks."""
    return np.pad(image, 1)


def unpad(image: np.ndarray) -> np.ndarray:
    """The inverse of `pad`; what was put into the border is dropped, as `forward` reads zeros there."""
    return np.ascontiguousarray(image[1:-1, 1:-1, 1:-1])


def _no_bins(n: int) -> np.ndarray:
    return np.zeros(n, np.int32)


def _total(images: list[np.ndarray]) -> np.ndarray:
    total = images[0]
    for image in images[1:]:
        total += image
    return total


@nb.njit(inline="always")
def _trace(shape, det0, det1, center, use_tof, voxel, table, index, weight):  # type: ignore[no-untyped-def]
    """Fill the flat indices and the four weights of every crossing of one LOR; return their number.

    `shape` is the padded image's. The four voxels of a crossing are at index, + stride of v, + stride of u,
    + both, with weights weight[m, 0..3].
    """
    length = 0.0
    for a in range(3):
        length += (det1[a] - det0[a]) ** 2
    length = math.sqrt(length)
    d0, d1, d2 = (det1[0] - det0[0]) / length, (det1[1] - det0[1]) / length, (det1[2] - det0[2]) / length
    m0, m1, m2 = 0.5 * (det0[0] + det1[0]), 0.5 * (det0[1] + det1[1]), 0.5 * (det0[2] + det1[2])
    s0, s1, s2 = shape[1] * shape[2], shape[2], 1
    n0, n1, n2 = shape[0] - 2, shape[1] - 2, shape[2] - 2
    v0, v1, v2 = voxel[0], voxel[1], voxel[2]
    # put the main axis first: k along the planes, u and v across
    if abs(d0) >= abs(d1) and abs(d0) >= abs(d2):
        dk, mk, sk, nk, vk = d0, m0, s0, n0, v0
        du, mu, su, nu, vu = d1, m1, s1, n1, v1
        dv, mv, sv, nv, vv = d2, m2, s2, n2, v2
    elif abs(d1) >= abs(d2):
        dk, mk, sk, nk, vk = d1, m1, s1, n1, v1
        du, mu, su, nu, vu = d0, m0, s0, n0, v0
        dv, mv, sv, nv, vv = d2, m2, s2, n2, v2
    else:
        dk, mk, sk, nk, vk = d2, m2, s2, n2, v2
        du, mu, su, nu, vu = d0, m0, s0, n0, v0
        dv, mv, sv, nv, vv = d1, m1, s1, n1, v1
    # distance from the LOR's middle at plane m: t = t0 + m * dt; padded indices across: u0 + m * gu, v0 + m * gv
    dt = vk / dk
    t0 = (-0.5 * (nk - 1) * vk - mk) / dk
    gu, gv = dt * du / vu, dt * dv / vv
    u0 = (mu + t0 * du) / vu + 0.5 * (nu - 1) + 1
    w0 = (mv + t0 * dv) / vv + 0.5 * (nv - 1) + 1
    lo, hi = 0.0, nk - 1.0
    reach = (table.size - 1) * 0.125
    if use_tof:
        a, b = (center - reach - t0) / dt, (center + reach - t0) / dt
        lo, hi = max(lo, min(a, b)), min(hi, max(a, b))
    if abs(gu) > 1e-12:
        a, b = (1e-9 - u0) / gu, (nu + 1 - 1e-9 - u0) / gu
        lo, hi = max(lo, min(a, b)), min(hi, max(a, b))
    elif not 0 < u0 < nu + 1:
        return 0, 0, 0
    if abs(gv) > 1e-12:
        a, b = (1e-9 - w0) / gv, (nv + 1 - 1e-9 - w0) / gv
        lo, hi = max(lo, min(a, b)), min(hi, max(a, b))
    elif not 0 < w0 < nv + 1:
        return 0, 0, 0
    first, last = int(math.ceil(lo)), int(math.floor(hi))
    step = abs(dt)
    n = 0
    for m in range(first, last + 1):
        factor = step
        if use_tof:
            place = abs(t0 + m * dt - center) * 8.0
            cell = min(int(place), table.size - 2)
            factor *= table[cell] + (place - cell) * (table[cell + 1] - table[cell])
        u, w = u0 + m * gu, w0 + m * gv
        iu, iw = int(u), int(w)
        fu, fw = u - iu, w - iw
        index[n] = (m + 1) * sk + iu * su + iw * sv
        weight[n, 0] = factor * (1 - fu) * (1 - fw)
        weight[n, 1] = factor * (1 - fu) * fw
        weight[n, 2] = factor * fu * (1 - fw)
        weight[n, 3] = factor * fu * fw
        n += 1
    return n, su, sv


@nb.njit(inline="always")
def _gather(flat, index, weight, n, su, sv):  # type: ignore[no-untyped-def]
    total = 0.0
    for m in range(n):
        i = index[m]
        total += weight[m, 0] * flat[i] + weight[m, 1] * flat[i + sv]
        total += weight[m, 2] * flat[i + su] + weight[m, 3] * flat[i + su + sv]
    return total


@nb.njit(inline="always")
def _scatter(flat, index, weight, n, su, sv, value):  # type: ignore[no-untyped-def]
    for m in range(n):
        i = index[m]
        flat[i] += weight[m, 0] * value
        flat[i + sv] += weight[m, 1] * value
        flat[i + su] += weight[m, 2] * value
        flat[i + su + sv] += weight[m, 3] * value


@nb.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _forward(image, det0, det1, tof, use_tof, out, detectors, voxel, table, bin_mm):  # type: ignore[no-untyped-def]
    flat, shape = image.ravel(), image.shape
    index, weight = np.empty(max(shape), np.int64), np.empty((max(shape), 4))
    for e in range(out.size):
        n, su, sv = _trace(
            shape, detectors[det0[e]], detectors[det1[e]], tof[e] * bin_mm, use_tof, voxel, table, index, weight
        )
        out[e] = _gather(flat, index, weight, n, su, sv)


@nb.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _back(image, det0, det1, tof, use_tof, values, detectors, voxel, table, bin_mm):  # type: ignore[no-untyped-def]
    flat, shape = image.ravel(), image.shape
    index, weight = np.empty(max(shape), np.int64), np.empty((max(shape), 4))
    for e in range(values.size):
        n, su, sv = _trace(
            shape, detectors[det0[e]], detectors[det1[e]], tof[e] * bin_mm, use_tof, voxel, table, index, weight
        )
        _scatter(flat, index, weight, n, su, sv, values[e])


@nb.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _em_back(image, events, additive, out, detectors, voxel, table, bin_mm):  # type: ignore[no-untyped-def]
    flat, target, shape = image.ravel(), out.ravel(), image.shape
    index, weight = np.empty(max(shape), np.int64), np.empty((max(shape), 4), image.dtype)
    for e in range(events.size):
        event = events[e]
        n, su, sv = _trace(
            shape, detectors[event.det0], detectors[event.det1], event.tof * bin_mm, True, voxel, table, index, weight
        )
        expected = _gather(flat, index, weight, n, su, sv) + additive[e]
        if expected > 0:
            _scatter(target, index, weight, n, su, sv, 1.0 / expected)
