"""Training patches cut on the device that trains: volumes go there once (or stay mapped), a batch
is one gather.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..io.arrays import map_array
from ..runtime.seeds import torch_generator
from .index import BODY_SHARE, read_index
from .volumes import place

# patch centres drawn to find one in the body; a slice with a tenth of body misses one in a thousand
TRIES = 64


@dataclass(frozen=True)
class Batch:
    """`noisy` and `target` (B, 3, P, P) divided by the scale, and the rows of the index table they
    come from.
    """

    noisy: Tensor
    target: Tensor
    rows: Tensor

    def __getitem__(self, part: slice) -> Batch:
        """The patches of a part of the batch."""
        return Batch(self.noisy[part], self.target[part], self.rows[part])


class Patches(Protocol):
    """What is trained on: PatchData, or a mixture of two."""

    device: torch.device

    def __len__(self) -> int: ...
    def epoch_order(self, epoch: int, count: int) -> Tensor: ...  # noqa: D102
    def batch(self, rows: Tensor, step: int, augment: bool = True) -> Batch: ...  # noqa: D102
    def describe(self, rows: Tensor) -> str: ...  # noqa: D102


class PatchData:
    """The slices of one split of a data set, cut into patches of three neighbouring slices.

    Every random draw depends on (seed, epoch or step) alone, so training can resume at any step.
    Patches lie uniformly over the valid slices; at most `air_fraction` of them are centred on air.
    `volumes` says where the volumes lie: `memory` (of the device), `mapped` (on the disk) or `auto`
    (by what is free).
    """

    def __init__(
        self,
        index: str | Path,
        split: str,
        *,
        scale: float,
        patch: int,
        air_fraction: float,
        seed: int,
        device: torch.device,
        volumes: str = "auto",
    ) -> None:
        table = read_index(index)
        self.table = table[table["split"] == split].reset_index(drop=True)
        self.patch, self.air_fraction, self.seed, self.device = patch, air_fraction, seed, device
        folder = Path(index).parent
        self._base: dict[str, int] = {}
        arrays: list[np.ndarray] = []
        offset = 0
        self.shape: tuple[int, int, int] | None = None
        for name in self.table["file"].unique():
            array = _volumes(folder / name)
            self._check(array, folder / name)
            self._base[name] = offset
            offset += array.size
            arrays.append(array)
        self._volumes = place(
            arrays, scale, device, where=volumes, name=f"{Path(index).parent.name} ({split})"
        )
        if arrays:
            self._prepare(_body_limits(arrays, scale))

    def __len__(self) -> int:
        return len(self.table)

    def epoch_order(self, epoch: int, count: int) -> Tensor:
        """Rows of the index table for the `count` patches of an epoch: permutations one after the
        other.
        """
        generator = torch_generator(self.seed, "epoch", epoch)
        rounds = -(-count // len(self))
        return torch.cat([torch.randperm(len(self), generator=generator) for _ in range(rounds)])[
            :count
        ]

    def batch(self, rows: Tensor, step: int, augment: bool = True) -> Batch:
        """Cut one patch for each of `rows` (B,); `step` numbers the draw."""
        generator = torch_generator(self.seed, "step", step)
        rows_on = rows.to(self.device)
        corner = self._corners(rows_on, generator)
        turn = torch.randint(8 if augment else 1, (len(rows),), generator=generator).to(self.device)
        at = corner[:, None, None, None] + self._turned[turn][:, None]
        noisy, target = (
            self._volumes.take(s[rows_on][:, :, None, None] + at)
            for s in (self._input, self._target)
        )
        return Batch(noisy, target, rows)

    def describe(self, rows: Tensor) -> str:
        """The slices of a batch, for an error message."""
        part = self.table.iloc[rows.tolist()]
        return ", ".join(f"{r.study} {r.sample} z={r.slice}" for r in part.head(6).itertuples()) + (
            f" and {len(part) - 6} more" if len(part) > 6 else ""
        )

    def _check(self, array: np.ndarray, path: Path) -> None:
        rows = self.table[self.table["file"] == path.name]
        for column, count in (
            ("input", array.shape[0]),
            ("target", array.shape[0]),
            ("slice", array.shape[1]),
        ):
            if (largest := int(rows[column].max())) >= count:
                raise ValueError(
                    f"{path}: the index table's column {column!r} names {largest}, there are {count}"
                )
        if self.shape is None:
            self.shape = array.shape[1:]
        if array.shape[1:] != self.shape:
            raise ValueError(
                f"{path}: expected volumes of shape {self.shape} as in the other studies, got {array.shape[1:]}"
            )
        if min(array.shape[2:]) < self.patch:
            raise ValueError(
                f"{path}: slices of {array.shape[2:]} are smaller than a patch of {self.patch}"
            )

    def _prepare(self, limits: Tensor) -> None:
        nz, ny, nx = self.shape  # type: ignore[misc]
        slices = np.clip(self.table["slice"].to_numpy()[:, None] + np.array([-1, 0, 1]), 0, nz - 1)
        base = self.table["file"].map(self._base).to_numpy()
        volume = {c: base + self.table[c].to_numpy() * nz * ny * nx for c in ("input", "target")}
        self._input, self._target = (
            torch.from_numpy(volume[c][:, None] + slices * ny * nx).to(self.device)
            for c in ("input", "target")
        )
        self._limit = limits[torch.from_numpy(volume["target"] // (nz * ny * nx))].to(self.device)
        p = self.patch
        grid = torch.arange(p)[:, None] * nx + torch.arange(p)
        flips = [torch.rot90(g, k) for g in (grid, grid.flip(1)) for k in range(4)]
        self._turned = torch.stack(flips).to(self.device)

    def _corners(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Top-left corners (B,) as offsets in a slice: of `TRIES` draws the first centred in the
        body, or the first.

        Everything after the draws happens on the device, which never has to wait for an answer.
        """
        _, ny, nx = self.shape  # type: ignore[misc]
        n, half = len(rows), self.patch // 2
        y = torch.randint(ny - self.patch + 1, (n, TRIES), generator=generator)
        x = torch.randint(nx - self.patch + 1, (n, TRIES), generator=generator)
        free = torch.rand(n, generator=generator) < self.air_fraction
        corner = (y * nx + x).to(self.device)
        values = self._volumes.take(self._target[rows, 1][:, None] + corner + (half * nx + half))
        inside = values > self._limit[rows][:, None]
        pick = torch.where(free.to(self.device), 0, inside.to(torch.uint8).argmax(dim=1))
        return corner.gather(1, pick[:, None])[:, 0]


def _body_limits(arrays: Sequence[np.ndarray], scale: float) -> Tensor:
    """What a voxel of each volume has to exceed to be of the body, in units of the scale."""
    limits = []
    for volume in (v for array in arrays for v in array):
        some = torch.from_numpy(np.array(volume.reshape(-1)[::7], np.float32)) / scale
        limits.append(BODY_SHARE * torch.quantile(some, 0.99))
    return torch.stack(limits)


def _volumes(path: Path) -> np.ndarray:
    array = map_array(path, "array of volumes")
    if array.ndim != 4 or array.dtype.kind != "f":
        raise ValueError(
            f"{path}: expected volumes (V, Z, Y, X) of floats, got {array.dtype} {array.shape}"
        )
    return array


def intensity_scale(index: str | Path) -> float:
    """Bq/mL that counts as 1: the 99th percentile of the training targets' body voxels, to two
    digits.
    """
    table = read_index(index)
    values = []
    for name, rows in table[table["split"] == "train"].groupby("file"):
        path = Path(index).parent / str(name)
        array = _volumes(path)
        for volume in rows["target"].unique():
            if volume >= len(array):
                raise ValueError(
                    f"{path}: target {volume} of {index}: there are {len(array)} volumes"
                )
            data = np.asarray(array[volume])
            if not np.isfinite(data).all():
                raise ValueError(f"{path}: target volume {volume}: holds NaN or infinite values")
            body = data[data > BODY_SHARE * np.percentile(data, 99)]
            if not body.size or body.max() <= 0:
                raise ValueError(
                    f"{path}: target volume {volume}: nothing in it, its largest value is {data.max():g}"
                )
            values.append(np.percentile(body, 99))
    return float(f"{float(np.mean(values)):.2g}")
