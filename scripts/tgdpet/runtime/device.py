"""The device, its number of threads and how exact its arithmetic is: picked here alone."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from . import distributed

CGROUP = Path("/sys/fs/cgroup")

# What an x86 processor needs, by torch's names, for products of bf16 faster than float32's.
FAST_BF16 = ("avx512_bf16", "amx_bf16")

# glibc's mallopt, by the numbers of malloc.h: blocks up to the first size (bytes) are kept when
# freed, and the second size in all.
M_MMAP_THRESHOLD = -3
KEPT_BLOCK = 32 << 20
M_TRIM_THRESHOLD = -1
KEPT_ALL = 256 << 20


def pick(name: str = "auto", threads: int | None = None) -> torch.device:
    """The device for `auto` (CUDA where there is one), `cpu` or `cuda`; sets torch's CPU threads.

    Numbers below 1.2e-38 count as zero from then on: in kernels that a regulariser has silenced
    gradients end there, and a CPU takes many times as long for a training step with such numbers.
    Memory that is freed is kept for the next step, where it would go back to the system and be
    zeroed again (both measured in benchmarks/RESULTS.md). Of several processes of one job each gets
    a GPU of its own, and its share of the threads. Raises ValueError when CUDA is asked for and not
    there.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device: expected auto, cpu or cuda, got {name!r}")

    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "device: cuda was asked for, but torch finds no CUDA device; use auto or cpu"
        )

    torch.set_flush_denormal(True)
    keep_freed()
    if threads is not None:
        torch.set_num_threads(max(1, threads // distributed.processes()))

    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")

    local = distributed.local_rank()
    available = torch.cuda.device_count()
    if local >= available:
        raise ValueError(f"device: process {local + 1} of this job finds {available} GPU(s) only")

    if distributed.processes() == 1:
        return torch.device("cuda")

    return torch.device("cuda", local)


def keep_freed() -> bool:
    """Let glibc keep up to 256 MB of freed memory; whether it does.

    Not where `MALLOC_...` variables say otherwise.
    """
    if any(name in os.environ for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")):
        return False

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another libc, another system
        return False

    return bool(mallopt(M_MMAP_THRESHOLD, KEPT_BLOCK)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT_ALL))


def describe(device: torch.device) -> str:
    """The device as sidecars name it."""
    processes = distributed.processes()
    several = f", {processes} processes" if processes > 1 else ""

    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}{several}"

    return f"cpu, {torch.get_num_threads()} thread(s){several}"


def free_bytes(device: torch.device) -> int:
    """Memory that is free on the device.

    On a CPU at most what this job's control group (v2) leaves.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])

    import psutil  # only a training needs it

    free = int(psutil.virtual_memory().available)

    # There may be no control group, or one without a limit ("max").
    with contextlib.suppress(OSError, ValueError):
        limit = int((CGROUP / "memory.max").read_text())
        used = int((CGROUP / "memory.current").read_text())
        free = min(free, max(0, limit - used))

    return free


def precision(wanted: str, device: torch.device) -> str:
    """`float32`, `tf32` or `bf16` for a configuration's precision.

    `auto` is bf16 on a GPU that has it and on an x86 processor with AMX-BF16 or AVX512-BF16, else
    float32: there a training takes half the time or less and ends in the same losses, bias and
    noise (docs/explanation/training.md). Raises ValueError where bf16 or tf32 is asked for and the
    hardware has none: emulated, it is many times slower.
    """
    if device.type == "cuda":
        return _gpu_precision(wanted, device)

    supported = torch.cpu.get_capabilities()
    bf16_on_x86 = any(supported.get(name) for name in FAST_BF16)
    bf16 = bf16_on_x86 or bool(supported.get("bf16"))
    if wanted == "tf32" or (wanted == "bf16" and not bf16):
        raise ValueError(
            f"precision: {wanted} was asked for, but this processor has no {wanted}; "
            "use auto or float32"
        )

    if wanted == "auto":
        return "bf16" if bf16_on_x86 else "float32"

    return wanted


def _gpu_precision(wanted: str, device: torch.device) -> str:
    # Ampere and later have both formats.
    supported = torch.cuda.get_device_capability(device) >= (8, 0)
    if wanted in ("bf16", "tf32") and not supported:
        raise ValueError(
            f"precision: {wanted} was asked for, but {describe(device)} lacks it; use float32"
        )

    if wanted != "auto":
        return wanted

    return "bf16" if supported else "float32"


@contextlib.contextmanager
def arithmetic(precision: str, deterministic: bool) -> Iterator[None]:
    """Set what convolutions and products may do, for the time of a training.

    `deterministic` allows only algorithms that give the same bits every time, on a GPU too, where
    it costs speed.
    """
    matmul_before = torch.get_float32_matmul_precision()
    deterministic_before = torch.are_deterministic_algorithms_enabled()
    workspace_before = os.environ.get("CUBLAS_WORKSPACE_CONFIG")

    torch.set_float32_matmul_precision("highest" if precision == "float32" else "high")
    if deterministic:
        # cuBLAS needs a fixed workspace for it.
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = workspace_before or ":4096:8"
        torch.use_deterministic_algorithms(True)

    try:
        with torch.backends.cudnn.flags(
            enabled=True,
            benchmark=not deterministic,
            deterministic=deterministic,
            allow_tf32=precision != "float32",
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul_before)

        # Left alone otherwise, as it imports torch's compiler, which takes seconds.
        if deterministic:
            torch.use_deterministic_algorithms(deterministic_before)
            if workspace_before is None:
                del os.environ["CUBLAS_WORKSPACE_CONFIG"]
