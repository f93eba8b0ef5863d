"""The one place that picks the device and the number of threads."""

from __future__ import annotations

import torch


def pick(name: str = "auto", threads: int | None = None) -> torch.device:
    """The device for `auto` (CUDA where there is one), `cpu` or `cuda`; sets torch's CPU threads.

    Raises ValueError when CUDA is asked for and not there.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device: expected auto, cpu or cuda, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: cuda was asked for, but torch finds no CUDA device; use auto or cpu")
    if threads is not None:
        torch.set_num_threads(max(1, threads))
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def describe(device: torch.device) -> str:
    """The device in words, for sidecars."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return f"cpu, {torch.get_num_threads()} thread(s)"
