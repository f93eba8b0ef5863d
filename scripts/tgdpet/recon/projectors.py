"""The projector for a device."""

from __future__ import annotations

import shutil
import sys
from typing import Any

from ..config.sections import Grid
from ..scanner.cylinder import AnyScanner
from .projector_cpu import Projector


def pick(name: str = "auto") -> str:
    """`cpu` or `cuda`: for `auto` the GPU that numba-cuda finds, if any.

    The package is only looked at where the machine has a driver. ValueError for another name.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device: expected auto, cpu or cuda, got {name!r}")

    if name != "auto":
        return name

    if shutil.which("nvidia-smi") is None:
        return "cpu"

    from numba import cuda

    if cuda.is_available():
        return "cuda"

    print("numba-cuda finds no GPU (pip install 'tgdpet[cuda]'): the CPU projects", file=sys.stderr)
    return "cpu"


def on_device(device: str, scanner: AnyScanner, grid: Grid, threads: int = 1) -> Any:
    """A `Projector` for `cpu`, a `projector_cuda.CudaProjector` for `cuda`.

    ValueError where there is no GPU.
    """
    if device == "cpu":
        return Projector(scanner, grid, threads)

    from .projector_cuda import CudaProjector

    return CudaProjector(scanner, grid, threads)
