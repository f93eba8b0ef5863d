"""A training set's volumes as one long array: on the device that trains, or memory-mapped where
they do not fit.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..runtime.device import free_bytes

# of the free memory: what volumes may take beside activations, gradients and the optimizer's state
FITS = 0.6


class Volumes(Protocol):
    """The values of volumes (V, Z, Y, X) one after the other, each divided by the scale."""

    def take(self, index: Tensor) -> Tensor:
        """The values at `index` (B, ...), int64, as float32 of the same shape on the device that
        trains.

        All of one `index[b]` lie in the same array.
        """
        ...


class Resident:
    """All volumes on the device: taking is one gather."""

    def __init__(self, arrays: Sequence[np.ndarray], scale: float, device: torch.device) -> None:
        self._flat = torch.empty(sum(a.size for a in arrays), device=device)
        at = 0
        for volume in (v for array in arrays for v in array):
            self._flat[at : at + volume.size] = (
                torch.from_numpy(np.array(volume, np.float32)) / scale
            ).flatten()
            at += volume.size

    def take(self, index: Tensor) -> Tensor:
        """See Volumes."""
        return self._flat[index]


class MappedVolumes:
    """Volumes that stay on the disk: taking reads the pages it needs, and what is taken goes to the
    device.
    """

    def __init__(self, arrays: Sequence[np.ndarray], scale: float, device: torch.device) -> None:
        self._arrays = [a.reshape(-1) for a in arrays]
        self._start = np.cumsum([0, *(a.size for a in arrays)])
        self._scale, self._device = scale, device

    def take(self, index: Tensor) -> Tensor:
        """See Volumes."""
        places = index.cpu().numpy()
        of = np.searchsorted(self._start, places.reshape(len(places), -1)[:, 0], side="right") - 1
        out = np.empty(places.shape, np.float32)
        for number in np.unique(of):
            own = of == number
            out[own] = self._arrays[number][places[own] - self._start[number]]
        return (torch.from_numpy(out) / self._scale).to(self._device)


def place(
    arrays: Sequence[np.ndarray],
    scale: float,
    device: torch.device,
    *,
    where: str = "auto",
    name: str = "data",
) -> Volumes:
    """Volumes on the device (`memory`), memory-mapped (`mapped`), or what fits (`auto`); says which
    and why.
    """
    if not arrays:
        return Resident([], scale, device)
    needed, free = 4 * sum(a.size for a in arrays), free_bytes(device)
    fits = needed <= FITS * free
    resident = where == "memory" or (where == "auto" and fits)
    asked = "" if where == "auto" else f" (volumes: {where})"
    print(
        f"{name}: {sum(map(len, arrays))} volumes, {needed / 1e9:.2f} GB as float32; {free / 1e9:.1f} GB free on "
        f"{device.type}: {'kept there' if resident else 'memory-mapped'}{asked}",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    return (Resident if resident else MappedVolumes)(arrays, scale, device)
