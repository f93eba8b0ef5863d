"""The CUDA kernels agree with the CPU's in numba's simulator, and compile to PTX."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numba import cuda, float32, float64, from_dtype, int32, int64, types, uint32

from tgdpet.listmode.events import EVENT
from tgdpet.recon import projector_cuda
from tgdpet.recon.projector_cpu import Projector
from tgdpet.recon.projector_cuda import CudaProjector
from tgdpet.recon.projectors import on_device

HERE = Path(__file__).resolve().parent
PATHS = os.pathsep.join([str(HERE.parent / "helpers"), str(HERE.parents[1] / "scripts")])

AGREE = """
import warnings
import numpy as np
import pytest
from small_scanner import LONG, LONG_GRID, SMALL, SMALL_GRID, events_of, some_lors
from tgdpet.recon.projector_cpu import Projector
from tgdpet.recon.projector_cuda import CudaProjector

warnings.simplefilter("error")
rng = np.random.default_rng(0)
for scanner, grid in ((SMALL, SMALL_GRID), (LONG, LONG_GRID)):
    cpu, gpu = Projector(scanner, grid), CudaProjector(scanner, grid)
    det0, det1 = some_lors(scanner, 130)  # more than a block
    det0, det1 = np.append(det0, 3), np.append(det1, 3)
    tof = rng.integers(-3, 4, len(det0)).astype(np.int32)
    image = rng.random(grid.shape, dtype=np.float32)
    values = rng.random(len(det0), dtype=np.float32)
    events = events_of(det0, det1, tof)

    for bins in (None, tof):
        plain = cpu.forward(image, det0, det1, bins)
        np.testing.assert_allclose(gpu.forward(image, det0, det1, bins), plain, 1e-5, 1e-4)
        plain = cpu.back(values, det0, det1, bins)
        assert plain.any()
        np.testing.assert_allclose(gpu.back(values, det0, det1, bins), plain, 1e-4, 1e-5)

    plain = cpu.em_back(image, events, values)
    for given in ((events, values), (gpu.hold(events), gpu.hold(values))):
        np.testing.assert_allclose(gpu.em_back(image, *given), plain, 1e-4, 1e-5 * plain.max())

    nothing = gpu.em_back(0 * image, events, 0 * values)
    assert nothing.shape == tuple(grid.shape) and not nothing.any()
    none = np.zeros(0, np.int32)
    assert gpu.forward(image, none, none).shape == (0,)
    assert not gpu.back(np.zeros(0, np.float32), none, none).any()

    with pytest.raises(ValueError, match="expected an image of shape"):
        gpu.forward(np.zeros((2, 3, 4), np.float32), det0, det1)
print("agree")
"""


def test_kernels_agree_with_the_cpu_in_the_simulator():
    env = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": PATHS}
    done = subprocess.run(
        [sys.executable, "-c", AGREE], env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "agree", done.stderr


FLOATS = float32[::1]
SHAPE = types.UniTuple(int64, 3)
GEOMETRY = (float32[:, ::1], float64[::1], float64, float32[::1], float64, float64)
SIGNATURES = {
    "forward": (FLOATS, SHAPE, uint32[::1], uint32[::1], int32[::1], FLOATS, *GEOMETRY),
    "back": (FLOATS, SHAPE, uint32[::1], uint32[::1], int32[::1], FLOATS, *GEOMETRY),
    "em_back": (FLOATS, SHAPE, from_dtype(EVENT)[::1], FLOATS, FLOATS, *GEOMETRY),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_kernels_compile_to_ptx_without_a_gpu(name, monkeypatch):
    try:
        from numba.cuda.cudadrv.nvvm import NVVM

        NVVM()
    except Exception as error:
        pytest.skip(f"no NVVM to compile with: {error}")

    # numba compiles device functions for the GPU at hand: let it think of one
    device = SimpleNamespace(compute_capability=(8, 0))
    monkeypatch.setattr("numba.cuda.dispatcher.get_current_device", lambda: device)
    kernel = getattr(projector_cuda, name).py_func
    ptx, _ = cuda.compile_ptx(kernel, SIGNATURES[name], cc=(8, 0), fastmath=True)

    entries = [line for line in ptx.splitlines() if ".entry" in line]

    assert len(entries) == 1 and name in entries[0]

    adds_atomically = "red." in ptx or "atom." in ptx
    assert adds_atomically == (name != "forward")
    assert ".local" not in ptx  # nothing spills to slow memory


def test_without_a_gpu_the_cuda_projector_says_so():
    if cuda.is_available():
        pytest.skip("a GPU is at hand")

    from small_scanner import SMALL, SMALL_GRID

    with pytest.raises(ValueError, match="expected a CUDA GPU and its driver, found none"):
        on_device("cuda", SMALL, SMALL_GRID)

    assert isinstance(on_device("cpu", SMALL, SMALL_GRID), Projector)


@pytest.mark.filterwarnings("default")  # numba finds so few events a waste of a GPU
def test_on_a_gpu_the_pair_is_adjoint():
    if not cuda.is_available():
        pytest.skip("no GPU")

    from small_scanner import SMALL, SMALL_GRID, some_lors

    rng = np.random.default_rng(1)
    projector = CudaProjector(SMALL, SMALL_GRID)
    det0, det1 = some_lors(SMALL, 5000)
    tof = rng.integers(-3, 4, len(det0)).astype(np.int32)

    x = rng.random(SMALL_GRID.shape, dtype=np.float32)
    y = rng.random(len(det0), dtype=np.float32)
    left = np.vdot(projector.forward(x, det0, det1, tof).astype(float), y)
    right = np.vdot(projector.back(y, det0, det1, tof).astype(float), x)

    np.testing.assert_allclose(right, left, rtol=1e-5)
