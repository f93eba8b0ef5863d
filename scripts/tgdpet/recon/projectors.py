"""The projector for a device."""

from __future__ import annotations

from typing import Any

from ..config.sections import Grid
from ..scanner.cylinder import AnyScanner
from .projector_cpu import Projector


def on_device(device: str, scanner: AnyScanner, grid: Grid, threads: int = 1) -> Any:
    """A `Projector` for `cpu`, a `projector_cuda.CudaProjector` for `cuda`.

    ValueError where there is no GPU.
    """
    if device == "cpu":
        return Projector(scanner, grid, threads)

    from .projector_cuda import CudaProjector

    return CudaProjector(scanner, grid, threads)
