"""Training patches cut on the device that trains.

Volumes go there once (or stay mapped); a batch is one gather.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..io.arrays import map_array
from ..runtime.seeds import torch_generator
from .body import BODY_SHARE, body_mask
from .index import read_index
from .volumes import load_volumes

# patch centres drawn to find one in the body; a slice with a tenth of body misses one in a thousand
TRIES = 64
ORIENTATIONS = 8  # four rotations, of the patch and of its mirror image
LIMIT_STRIDE = 7  # every such voxel of a volume counts for its body threshold
DESCRIBED_SLICES = 6


@dataclass(frozen=True)
class Batch:
    """`noisy` and `target` (B, 3, P, P) divided by the scale.

    `rows` are the rows of the index table that the patches come from.
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

    def __len__(self) -> int:
        """The number of slices."""

    def epoch_order(self, epoch: int, count: int) -> Tensor:
        """Rows of the slices that the `count` patches of an epoch are cut from."""

    def batch(self, rows: Tensor, step: int, augment: bool = True) -> Batch:
        """Cut one patch for each of `rows` (B,); `step` numbers the draw."""

    def describe(self, rows: Tensor) -> str:
        """The slices of a batch, for an error message."""


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
        self.patch = patch
        self.air_fraction = air_fraction
        self.seed = seed
        self.device = device

        # One array (V, Z, Y, X) a study, each of its own shape.
        folder = Path(index).parent
        arrays: dict[str, np.ndarray] = {}
        for name in self.table["file"].unique():
            array = _map_volumes(folder / name)
            self._check(array, folder / name)
            arrays[name] = array

        self._volumes = load_volumes(
            list(arrays.values()),
            scale,
            device,
            where=volumes,
            name=f"{folder.name} ({split})",
        )
        if arrays:
            self._index_voxels(arrays, scale)

    def __len__(self) -> int:
        return len(self.table)

    def epoch_order(self, epoch: int, count: int) -> Tensor:
        """Rows of the index table for the `count` patches of an epoch."""
        return repeated_permutations(len(self), count, self.seed, epoch)

    def batch(self, rows: Tensor, step: int, augment: bool = True) -> Batch:
        """Cut one patch for each of `rows` (B,); `step` numbers the draw."""
        generator = torch_generator(self.seed, "step", step)
        rows_here = rows.to(self.device)

        # Where the patch lies in its slice, and which way it is turned: voxel offsets (B, 1, P, P).
        corner = self._corners(rows, generator)
        turns = ORIENTATIONS if augment else 1
        turn = torch.randint(turns, (len(rows),), generator=generator)
        turned = self._turned[self._grid[rows_here], turn.to(self.device)]
        offset = corner[:, None, None, None] + turned[:, None]

        # The same voxels of the three neighbouring slices of input and target, (B, 3, P, P).
        input_slices = self._input[rows_here]
        target_slices = self._target[rows_here]
        noisy = self._volumes.take(input_slices[:, :, None, None] + offset)
        target = self._volumes.take(target_slices[:, :, None, None] + offset)

        return Batch(noisy, target, rows)

    def describe(self, rows: Tensor) -> str:
        """The slices of a batch, for an error message."""
        slices = self.table.iloc[rows.tolist()]
        shown = slices.head(DESCRIBED_SLICES)
        names = ", ".join(f"{r.study} {r.sample} z={r.slice}" for r in shown.itertuples())

        more = len(slices) - len(shown)
        return f"{names} and {more} more" if more else names

    def _check(self, array: np.ndarray, path: Path) -> None:
        """Raise ValueError where `array` lacks what the table names, or does not fit the others."""
        rows = self.table[self.table["file"] == path.name]
        n_volumes, n_slices = array.shape[:2]
        counts = {"input": n_volumes, "target": n_volumes, "slice": n_slices}
        for column, count in counts.items():
            largest = int(rows[column].max())
            if largest >= count:
                raise ValueError(
                    f"{path}: the index table's column {column!r} names {largest}, "
                    f"there are {count}"
                )

        if min(array.shape[2:]) < self.patch:
            raise ValueError(
                f"{path}: slices of {array.shape[2:]} are smaller than a patch of {self.patch}"
            )

    def _index_voxels(self, arrays: dict[str, np.ndarray], scale: float) -> None:
        """Where the slices of each row begin among all voxels, and what is body there.

        `_input` and `_target` (N, 3) are the first voxels of the three slices, `_limit` (N,) is
        what a voxel of the target has to exceed, `_size` (N, 2) are Y and X of the slice, on the
        CPU, `_turned` (G, 8, P, P) are voxel offsets in a slice of each width, `_grid` (N,) says
        which width.
        """
        shapes = np.array([array.shape for array in arrays.values()])  # V, Z, Y, X
        names = pd.Series(range(len(arrays)), index=list(arrays))
        study = self.table["file"].map(names).to_numpy()
        _, nz, ny, nx = shapes[study].T

        # Voxels and volumes are numbered through the arrays of all studies.
        first_voxel = np.cumsum([0, *shapes.prod(axis=1)])[study]
        first_volume = np.cumsum([0, *shapes[:, 0]])[study]
        target_volume = first_volume + self.table["target"].to_numpy()

        # The slice itself and its neighbours, clamped at the ends of the volume.
        middle = self.table["slice"].to_numpy()[:, None]
        neighbours = middle + np.array([-1, 0, 1])
        slices = np.clip(neighbours, 0, nz[:, None] - 1)

        input_slice = (self.table["input"].to_numpy() * nz)[:, None] + slices
        target_slice = (self.table["target"].to_numpy() * nz)[:, None] + slices
        slice_voxels = (ny * nx)[:, None]
        input_start = first_voxel[:, None] + input_slice * slice_voxels
        target_start = first_voxel[:, None] + target_slice * slice_voxels
        self._input = torch.from_numpy(input_start).to(self.device)
        self._target = torch.from_numpy(target_start).to(self.device)

        limits = [_body_limits(array, scale) for array in arrays.values()]
        limit = torch.cat(limits)[torch.from_numpy(target_volume)]
        self._limit = limit.to(self.device)

        widths, grid = np.unique(nx, return_inverse=True)
        turned = [_turned_grids(self.patch, int(width)) for width in widths]
        self._turned = torch.stack(turned).to(self.device)
        self._grid = torch.from_numpy(grid).to(self.device)
        self._size = torch.from_numpy(np.stack([ny, nx], axis=1))

    def _corners(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Top-left corners (B,) as offsets in a slice, of the rows (on the CPU).

        Of `TRIES` draws the first that is centred in the body, or the first of all. Everything
        after the draws happens on the device, which never has to wait for an answer.
        """
        n = len(rows)
        ny, nx = self._size[rows].T

        y = _uniform(ny - self.patch + 1, generator)
        x = _uniform(nx - self.patch + 1, generator)
        corner = (y * nx[:, None] + x).to(self.device)

        # A share of the patches may lie anywhere, in air too.
        anywhere = torch.rand(n, generator=generator) < self.air_fraction

        # The target's value at the centre of each patch drawn, (B, TRIES).
        half = self.patch // 2
        to_centre = (half * nx + half).to(self.device)
        centre = corner + to_centre[:, None]
        rows_here = rows.to(self.device)
        slice_start = self._target[rows_here, 1]
        values = self._volumes.take(slice_start[:, None] + centre)

        limit = self._limit[rows_here]
        in_body = values > limit[:, None]
        first_in_body = in_body.to(torch.uint8).argmax(dim=1)
        pick = torch.where(anywhere.to(self.device), 0, first_in_body)

        return corner.gather(1, pick[:, None])[:, 0]


def repeated_permutations(n: int, count: int, seed: int, epoch: int) -> Tensor:
    """`count` of `n` rows for an epoch: permutations one after the other, the last one cut."""
    generator = torch_generator(seed, "epoch", epoch)
    rounds = -(-count // n)
    permutations = [torch.randperm(n, generator=generator) for _ in range(rounds)]

    return torch.cat(permutations)[:count]


def _uniform(ends: Tensor, generator: torch.Generator) -> Tensor:
    """`TRIES` whole numbers from 0 to each of `ends` (B,) - 1, drawn uniformly: (B, TRIES)."""
    shape = (len(ends), TRIES)
    highest = int(ends.max())
    if bool((ends == highest).all()):
        return torch.randint(highest, shape, generator=generator)

    # 2^40 is far more than any width, so that the remainder is as good as uniform.
    drawn = torch.randint(2**40, shape, generator=generator)
    return drawn % ends[:, None]


def _turned_grids(patch: int, nx: int) -> Tensor:
    """Voxel offsets in a slice of the rows of `nx` voxels, of a patch turned 8 ways: (8, P, P)."""
    along = torch.arange(patch)
    grid = along[:, None] * nx + along
    mirrored = grid.flip(1)

    turned = [torch.rot90(grid, k) for k in range(4)]
    turned += [torch.rot90(mirrored, k) for k in range(4)]

    return torch.stack(turned)


def _body_limits(array: np.ndarray, scale: float) -> Tensor:
    """What a voxel of each volume has to exceed to be of the body, in units of the scale: (V,)."""
    limits = []
    for volume in array:
        sample = volume.reshape(-1)[::LIMIT_STRIDE]
        scaled = torch.from_numpy(np.array(sample, np.float32)) / scale
        limits.append(BODY_SHARE * torch.quantile(scaled, 0.99))

    return torch.stack(limits)


def _map_volumes(path: Path) -> np.ndarray:
    array = map_array(path, "array of volumes")
    if array.ndim != 4 or array.dtype.kind != "f":
        raise ValueError(
            f"{path}: expected volumes (V, Z, Y, X) of floats, got {array.dtype} {array.shape}"
        )

    return array


def intensity_scale(index: str | Path) -> float:
    """Bq/mL that counts as 1.

    It is the 99th percentile of the training targets' body voxels, averaged over the targets and
    rounded to two digits.
    """
    table = read_index(index)
    percentiles = []

    for name, rows in table[table["split"] == "train"].groupby("file"):
        path = Path(index).parent / str(name)
        array = _map_volumes(path)
        for volume in rows["target"].unique():
            if volume >= len(array):
                raise ValueError(
                    f"{path}: target {volume} of {index}: there are {len(array)} volumes"
                )
            body = _body_values(np.asarray(array[volume]), f"{path}: target volume {volume}")
            percentiles.append(np.percentile(body, 99))

    mean = float(np.mean(percentiles))
    return float(f"{mean:.2g}")


def _body_values(data: np.ndarray, name: str) -> np.ndarray:
    """The voxels of the body; ValueError where the volume `name` is not finite or empty."""
    if not np.isfinite(data).all():
        raise ValueError(f"{name}: holds NaN or infinite values")

    body: np.ndarray = data[body_mask(data)]
    if not body.size or body.max() <= 0:
        raise ValueError(f"{name}: nothing in it, its largest value is {data.max():g}")

    return body
