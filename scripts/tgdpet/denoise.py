"""Denoising whole volumes, slice by slice, with memory for a few slices."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

SLICES_AT_ONCE = 8


@torch.inference_mode()
def denoise(
    model: nn.Module,
    image: np.ndarray,
    scale: float,
    device: torch.device | str = "cpu",
    step: Callable[[int], None] = lambda n: None,
) -> np.ndarray:
    """The denoised image (X, Y, Z), Bq/mL like `image`; `scale` is the network's Bq/mL that count as 1.

    Each slice goes through with its two neighbours, the ends repeated as in training, and the middle of the three
    output slices is kept. `step(n)` is called after every n slices.
    """
    if image.ndim != 3:
        raise ValueError(f"denoise: expected an image (X, Y, Z), got shape {image.shape}")
    model = model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    volume = np.ascontiguousarray(image.transpose(2, 1, 0), np.float32) / np.float32(scale)
    out = np.empty_like(volume)
    depth = len(volume)
    for first in range(0, depth, SLICES_AT_ONCE):
        middle = np.arange(first, min(first + SLICES_AT_ONCE, depth))
        around = np.clip(middle[:, None] + np.array([-1, 0, 1]), 0, depth - 1)
        stack = torch.from_numpy(volume[around]).to(device).contiguous(memory_format=torch.channels_last)
        out[middle] = model(stack)[:, 1].float().cpu().numpy()
        step(len(middle))
    return np.asarray((out * np.float32(scale)).transpose(2, 1, 0))
