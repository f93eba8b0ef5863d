"""The projector pair of `projector` on a CUDA GPU (numba-cuda): a thread an event, float32, atomic
additions.

The geometry of an LOR is the CPU's (`joseph.line_of`, `joseph.place`). Atomic additions come in any
order: back projections repeat to rounding, not to the bit. Fused, the weights are computed twice
rather than kept, as a thread has no fast memory for them. With NUMBA_ENABLE_CUDASIM=1 the kernels
run in numba's simulator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import cuda as numba_cuda

from ..config.sections import Grid
from ..scanner.cylinder import AnyScanner
from .joseph import line_of, pad, place, unpad
from .tof import WITHOUT_TOF, tof_table

cuda: Any = numba_cuda  # fills itself at run time, which type checkers cannot see
THREADS_PER_BLOCK = 128

_line_of = cuda.jit(device=True, fastmath=True)(line_of)
_place = cuda.jit(device=True, fastmath=True)(place)


@cuda.jit(device=True, fastmath=True)
def _gather(flat, line, table, per_mm):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for m in range(line.n):
        i, fu, fv, entry = _place(line, m, per_mm)
        near, far = flat[i], flat[i + line.stride_u]
        near += fv * (flat[i + line.stride_v] - near)
        far += fv * (flat[i + line.stride_u + line.stride_v] - far)
        total += table[entry] * (near + fu * (far - near))
    return total * np.float32(abs(line.dt))


@cuda.jit(device=True, fastmath=True)
def _scatter(flat, line, value, table, per_mm):  # type: ignore[no-untyped-def]
    value *= np.float32(abs(line.dt))
    for m in range(line.n):
        i, fu, fv, entry = _place(line, m, per_mm)
        near = table[entry] * value
        far = near * fu
        near -= far
        near_v, far_v = near * fv, far * fv
        cuda.atomic.add(flat, i, near - near_v)
        cuda.atomic.add(flat, i + line.stride_v, near_v)
        cuda.atomic.add(flat, i + line.stride_u, far - far_v)
        cuda.atomic.add(flat, i + line.stride_u + line.stride_v, far_v)


@cuda.jit(fastmath=True)
def forward(flat, shape, det0, det1, tof, out, detectors, voxel, step_mm, table, per_mm, reach):  # type: ignore[no-untyped-def]
    """Line integrals `out` (n,) of the padded image `flat` of `shape`; float32."""
    e = cuda.grid(1)
    if e < out.size:
        line = _line_of(shape, voxel, detectors, det0[e], det1[e], tof[e] * step_mm, reach)
        out[e] = _gather(flat, line, table, per_mm)


@cuda.jit(fastmath=True)
def back(flat, shape, det0, det1, tof, values, detectors, voxel, step_mm, table, per_mm, reach):  # type: ignore[no-untyped-def]
    """Add the adjoint of `forward`, applied to `values` (n,), to the padded image `flat` of
    `shape`.
    """
    e = cuda.grid(1)
    if e < values.size:
        line = _line_of(shape, voxel, detectors, det0[e], det1[e], tof[e] * step_mm, reach)
        _scatter(flat, line, values[e], table, per_mm)


@cuda.jit(fastmath=True)
def em_back(flat, shape, events, additive, out, detectors, voxel, step_mm, table, per_mm, reach):  # type: ignore[no-untyped-def]
    """Add the back projection of 1 / (forward + additive) of `events` (n,) to the padded image
    `out`.
    """
    e = cuda.grid(1)
    if e < events.size:
        det0, det1, tof = events[e]["det0"], events[e]["det1"], events[e]["tof"]
        line = _line_of(shape, voxel, detectors, det0, det1, tof * step_mm, reach)
        expected = _gather(flat, line, table, per_mm) + additive[e]
        if expected > 0:
            _scatter(out, line, np.float32(1) / expected, table, per_mm)


@dataclass(frozen=True)
class CudaProjector:
    """As `Projector`, on the current GPU; `threads` is there for the same signature. RuntimeError
    without a GPU.

    Arrays may be given on the device (see `hold`), where their type has to be right: float32,
    events as `EVENT`.
    """

    scanner: AnyScanner
    grid: Grid
    threads: int = 1

    def __post_init__(self) -> None:
        if not cuda.is_available():
            raise ValueError(
                "projector: expected a CUDA GPU and its driver, found none; project on the CPU"
            )
        scanner = self.scanner
        geometry = (
            cuda.to_device(np.ascontiguousarray(scanner.detector_mm(), np.float32)),
            cuda.to_device(np.asarray(self.grid.voxel_mm, np.float64)),
            float(scanner.tof_step_mm),
        )
        for name, table in (
            ("_with_tof", tof_table(scanner.tof_sigma_mm, scanner.tof_bin_mm)),
            ("_without_tof", WITHOUT_TOF),
        ):
            object.__setattr__(self, name, (*geometry, cuda.to_device(table.weights), *table[1:]))

    def hold(self, array: np.ndarray) -> Any:
        """The array on the device, so that a subset that is projected many times is sent there
        once.
        """
        return cuda.to_device(np.ascontiguousarray(array))

    def forward(self, image: np.ndarray, det0: Any, det1: Any, tof: Any = None) -> np.ndarray:
        """Line integrals (n,) float32 of `image` (X, Y, Z) for detector ids (n,) and TOF bins
        (n,).
        """
        out = cuda.device_array(len(det0), np.float32)
        bins, geometry = self._bins(tof, len(det0))
        self._launch(
            forward, len(det0), self._image(image), self._shape, det0, det1, bins, out, *geometry
        )
        return np.asarray(out.copy_to_host())

    def back(self, values: np.ndarray, det0: Any, det1: Any, tof: Any = None) -> np.ndarray:
        """The adjoint of `forward`: values (n,) spread into an image (X, Y, Z) float32."""
        out, (bins, geometry) = self._zeros(), self._bins(tof, len(det0))
        values = _on_device(values, np.float32)
        self._launch(back, len(det0), out, self._shape, det0, det1, bins, values, *geometry)
        return self._host(out)

    def em_back(self, image: np.ndarray, events: Any, additive: Any) -> np.ndarray:
        """Back projection of 1 / (forward + additive) of `events`, (X, Y, Z) float32; see
        `Projector.em_back`.
        """
        out, geometry = self._zeros(), self._with_tof  # type: ignore[attr-defined]
        additive = _on_device(additive, np.float32)
        self._launch(
            em_back, len(events), self._image(image), self._shape, events, additive, out, *geometry
        )
        return self._host(out)

    @property
    def _shape(self) -> tuple[int, int, int]:
        x, y, z = self.grid.shape
        return x + 2, y + 2, z + 2

    def _launch(self, kernel: Any, n: int, *arguments: Any) -> None:
        if n:
            held = [_on_device(a, a.dtype) if isinstance(a, np.ndarray) else a for a in arguments]
            kernel[(n + THREADS_PER_BLOCK - 1) // THREADS_PER_BLOCK, THREADS_PER_BLOCK](*held)

    def _bins(self, tof: Any, n: int) -> tuple[Any, tuple[Any, ...]]:
        if tof is None:
            return np.zeros(n, np.int32), self._without_tof  # type: ignore[attr-defined]
        return tof, self._with_tof  # type: ignore[attr-defined]

    def _image(self, image: np.ndarray) -> Any:
        if list(image.shape) != list(self.grid.shape):
            raise ValueError(
                f"projector: expected an image of shape {tuple(self.grid.shape)}, got {image.shape}"
            )
        return cuda.to_device(pad(image.astype(np.float32, copy=False)).ravel())

    def _zeros(self) -> Any:
        return cuda.to_device(np.zeros(int(np.prod(self._shape)), np.float32))

    def _host(self, flat: Any) -> np.ndarray:
        return unpad(flat.copy_to_host().reshape(self._shape))


def _on_device(array: Any, dtype: Any) -> Any:
    return (
        cuda.to_device(np.ascontiguousarray(array, dtype))
        if isinstance(array, np.ndarray)
        else array
    )
