"""A training set's volumes as one long array.

It lies on the device that trains, or stays memory-mapped where it does not fit there.
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
        """The values at `index` (B, ...), int64, as float32 of the same shape.

        They are on the device that trains. All of one `index[b]` lie in the same array.
        """
        ...


class Resident:
    """All volumes on the device: taking is one gather."""

    def __init__(self, arrays: Sequence[np.ndarray], scale: float, device: torch.device) -> None:
        n_voxels = sum(a.size for a in arrays)
        self._flat = torch.empty(n_voxels, device=device)

        # One volume at a time, so that no more than one lies in the CPU's memory.
        start = 0
        for array in arrays:
            for volume in array:
                scaled = torch.from_numpy(np.array(volume, np.float32)) / scale
                self._flat[start : start + volume.size] = scaled.flatten()
                start += volume.size

    def take(self, index: Tensor) -> Tensor:
        """See Volumes."""
        return self._flat[index]


class MappedVolumes:
    """Volumes that stay on the disk.

    Taking reads the pages it needs, and what is taken goes to the device.
    """

    def __init__(self, arrays: Sequence[np.ndarray], scale: float, device: torch.device) -> None:
        self._arrays = [a.reshape(-1) for a in arrays]
        sizes = [a.size for a in arrays]
        self._starts = np.cumsum([0, *sizes])
        self._scale = scale
        self._device = device

    def take(self, index: Tensor) -> Tensor:
        """See Volumes."""
        positions = index.cpu().numpy()
        first = positions.reshape(len(positions), -1)[:, 0]
        array_of = np.searchsorted(self._starts, first, side="right") - 1

        values = np.empty(positions.shape, np.float32)
        for number in np.unique(array_of):
            rows = array_of == number
            within = positions[rows] - self._starts[number]
            values[rows] = self._arrays[number][within]

        return (torch.from_numpy(values) / self._scale).to(self._device)


def load_volumes(
    arrays: Sequence[np.ndarray],
    scale: float,
    device: torch.device,
    *,
    where: str = "auto",
    name: str = "data",
) -> Volumes:
    """Volumes on the device (`memory`), memory-mapped (`mapped`), or what fits (`auto`).

    Prints which and why.
    """
    if not arrays:
        return Resident([], scale, device)

    needed = 4 * sum(a.size for a in arrays)  # bytes, as float32
    free = free_bytes(device)
    fits = needed <= FITS * free
    resident = where == "memory" or (where == "auto" and fits)

    asked = "" if where == "auto" else f" (volumes: {where})"
    print(
        f"{name}: {sum(map(len, arrays))} volumes, {needed / 1e9:.2f} GB as float32; "
        f"{free / 1e9:.1f} GB free on {device.type}: "
        f"{'kept there' if resident else 'memory-mapped'}{asked}",
        file=sys.stderr,
        flush=True,
    )

    if resident:
        return Resident(arrays, scale, device)

    return MappedVolumes(arrays, scale, device)
