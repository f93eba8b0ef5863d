"""The projector pair of `projector_cpu` on a CUDA GPU (numba-cuda): a thread an event, float32,
atomic additions.

The geometry of an LOR is the CPU's (`lines.line_of`, `lines.crossing`). Atomic additions come in
any order: back projections repeat to rounding, not to the bit. Fused, the weights are computed
twice rather than kept, as a thread has no fast memory for them. With NUMBA_ENABLE_CUDASIM=1 the
kernels run in numba's simulator.

Kernels take the fields of `joseph.ProjectionGeometry` one by one: numba-cuda does not document
named tuples as kernel arguments.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import cuda as numba_cuda

from ..config.sections import Grid
from ..scanner.cylinder import AnyScanner
from .joseph import ProjectionGeometry, pad, unpad
from .lines import crossing, line_of
from .tof import WITHOUT_TOF, TofTable, tof_table

cuda: Any = numba_cuda  # fills itself at run time, which type checkers cannot see
THREADS_PER_BLOCK = 128

_line_of = cuda.jit(device=True, fastmath=True)(line_of)
_crossing = cuda.jit(device=True, fastmath=True)(crossing)


@cuda.jit(device=True, fastmath=True)
def _gather(flat, line, table, per_mm):  # type: ignore[no-untyped-def]
    total = np.float32(0)

    for m in range(line.n):
        i, fraction_u, fraction_v, entry = _crossing(line, m, per_mm)

        near = flat[i]
        far = flat[i + line.stride_u]
        near += fraction_v * (flat[i + line.stride_v] - near)
        far += fraction_v * (flat[i + line.stride_u + line.stride_v] - far)

        total += table[entry] * (near + fraction_u * (far - near))

    return total * np.float32(abs(line.dt))


@cuda.jit(device=True, fastmath=True)
def _scatter(flat, line, value, table, per_mm):  # type: ignore[no-untyped-def]
    """The adjoint of `_gather`: add `value` to the voxels around the line's crossings."""
    value *= np.float32(abs(line.dt))

    for m in range(line.n):
        i, fraction_u, fraction_v, entry = _crossing(line, m, per_mm)

        near = table[entry] * value
        far = near * fraction_u
        near -= far
        near_v = near * fraction_v
        far_v = far * fraction_v

        cuda.atomic.add(flat, i, near - near_v)
        cuda.atomic.add(flat, i + line.stride_v, near_v)
        cuda.atomic.add(flat, i + line.stride_u, far - far_v)
        cuda.atomic.add(flat, i + line.stride_u + line.stride_v, far_v)


@cuda.jit(fastmath=True)
def forward(  # type: ignore[no-untyped-def]
    flat,
    shape,
    det0,
    det1,
    tof,
    integrals,
    detectors_mm,
    voxel_mm,
    step_mm,
    table,
    per_mm,
    reach_mm,
):
    """Write the line integrals (n,) float32 of the padded image `flat` of `shape`."""
    e = cuda.grid(1)

    if e < integrals.size:
        centre_mm = tof[e] * step_mm
        line = _line_of(shape, voxel_mm, detectors_mm, det0[e], det1[e], centre_mm, reach_mm)

        integrals[e] = _gather(flat, line, table, per_mm)


@cuda.jit(fastmath=True)
def back(  # type: ignore[no-untyped-def]
    flat, shape, det0, det1, tof, values, detectors_mm, voxel_mm, step_mm, table, per_mm, reach_mm
):
    """Add the adjoint of `forward`, applied to `values` (n,), to the padded `flat` of `shape`."""
    e = cuda.grid(1)

    if e < values.size:
        centre_mm = tof[e] * step_mm
        line = _line_of(shape, voxel_mm, detectors_mm, det0[e], det1[e], centre_mm, reach_mm)

        _scatter(flat, line, values[e], table, per_mm)


@cuda.jit(fastmath=True)
def em_back(  # type: ignore[no-untyped-def]
    flat, shape, events, additive, target, detectors_mm, voxel_mm, step_mm, table, per_mm, reach_mm
):
    """Add the back projection of 1 / (forward + additive) of `events` (n,) to padded `target`."""
    e = cuda.grid(1)

    if e < events.size:
        det0 = events[e]["det0"]
        det1 = events[e]["det1"]
        centre_mm = events[e]["tof"] * step_mm
        line = _line_of(shape, voxel_mm, detectors_mm, det0, det1, centre_mm, reach_mm)

        expected = _gather(flat, line, table, per_mm) + additive[e]
        if expected > 0:
            _scatter(target, line, np.float32(1) / expected, table, per_mm)


class CudaProjector:
    """As `Projector`, on the current GPU; `threads` is there for the same signature.

    ValueError without a GPU. Arrays may be given on the device (see `hold`), where their type has
    to be right: float32, events as `EVENT`.
    """

    def __init__(self, scanner: AnyScanner, grid: Grid, threads: int = 1) -> None:
        if not cuda.is_available():
            raise ValueError(
                "projector: expected a CUDA GPU and its driver, found none; project on the CPU"
            )

        self.scanner = scanner
        self.grid = grid
        self.threads = threads

        x, y, z = grid.shape
        self._padded_shape = x + 2, y + 2, z + 2

        detectors_mm = _on_device(scanner.detector_mm(), np.float32)
        voxel_mm = _on_device(np.asarray(grid.voxel_mm), np.float64)
        tof_step_mm = float(scanner.tof_step_mm)

        def geometry(table: TofTable) -> ProjectionGeometry:
            weights = cuda.to_device(table.weights)
            return ProjectionGeometry(
                detectors_mm, voxel_mm, tof_step_mm, weights, table.per_mm, table.reach_mm
            )

        self._with_tof = geometry(tof_table(scanner.tof_sigma_mm, scanner.tof_bin_mm))
        self._without_tof = geometry(WITHOUT_TOF)

    def hold(self, array: np.ndarray) -> Any:
        """The array on the device, so that a subset projected many times is sent there once."""
        return cuda.to_device(np.ascontiguousarray(array))

    def forward(self, image: np.ndarray, det0: Any, det1: Any, tof: Any = None) -> np.ndarray:
        """Line integrals (n,) float32 of `image` (X, Y, Z); see `Projector.forward`."""
        flat = self._image(image)
        bins, geometry = self._bins(tof, len(det0))
        integrals = cuda.device_array(len(det0), np.float32)

        self._launch(
            forward,
            len(det0),
            flat,
            self._padded_shape,
            det0,
            det1,
            bins,
            integrals,
            *geometry,
        )
        return np.asarray(integrals.copy_to_host())

    def back(self, values: np.ndarray, det0: Any, det1: Any, tof: Any = None) -> np.ndarray:
        """The adjoint of `forward`: values (n,) spread into an image (X, Y, Z) float32."""
        flat = self._zeros()
        bins, geometry = self._bins(tof, len(det0))
        values = _on_device(values, np.float32)

        self._launch(
            back,
            len(det0),
            flat,
            self._padded_shape,
            det0,
            det1,
            bins,
            values,
            *geometry,
        )
        return self._host(flat)

    def em_back(self, image: np.ndarray, events: Any, additive: Any) -> np.ndarray:
        """Back projection of 1 / (forward + additive) of `events`, (X, Y, Z) float32.

        See `Projector.em_back`.
        """
        flat = self._image(image)
        target = self._zeros()
        additive = _on_device(additive, np.float32)

        self._launch(
            em_back,
            len(events),
            flat,
            self._padded_shape,
            events,
            additive,
            target,
            *self._with_tof,
        )
        return self._host(target)

    def _launch(self, kernel: Any, n: int, *arguments: Any) -> None:
        if n == 0:
            return

        held = [_on_device(argument) for argument in arguments]
        n_blocks = (n + THREADS_PER_BLOCK - 1) // THREADS_PER_BLOCK

        kernel[n_blocks, THREADS_PER_BLOCK](*held)

    def _bins(self, tof: Any, n: int) -> tuple[Any, ProjectionGeometry]:
        if tof is None:
            return np.zeros(n, np.int32), self._without_tof

        return tof, self._with_tof

    def _image(self, image: np.ndarray) -> Any:
        """The padded image on the device, flat."""
        if list(image.shape) != list(self.grid.shape):
            raise ValueError(
                f"projector: expected an image of shape {tuple(self.grid.shape)}, got {image.shape}"
            )

        padded = pad(image.astype(np.float32, copy=False))
        return cuda.to_device(padded.ravel())

    def _zeros(self) -> Any:
        """A padded image of zeros on the device, flat."""
        n_voxels = int(np.prod(self._padded_shape))

        return cuda.to_device(np.zeros(n_voxels, np.float32))

    def _host(self, flat: Any) -> np.ndarray:
        """A flat padded image from the device, without its border."""
        return unpad(flat.copy_to_host().reshape(self._padded_shape))


def _on_device(array: Any, dtype: Any = None) -> Any:
    """A host array on the device, of its own dtype without `dtype`; anything else as it is."""
    if not isinstance(array, np.ndarray):
        return array

    return cuda.to_device(np.ascontiguousarray(array, dtype))
