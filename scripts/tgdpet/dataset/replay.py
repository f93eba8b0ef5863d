"""Rehearsal: patches of the new task with some of the old one's among them (replay), or with all
(joint training).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..runtime.seeds import torch_generator
from .patches import Batch, PatchData


class Mixed:
    """New slices and a fixed, seeded share of the old ones as one data set, drawn from in
    proportion to their numbers.

    `share` in (0, 1] of the old slices are kept, at least one; 1 is joint training. Rows 0 to
    len(new) - 1 are the new slices, the others the kept old ones. Every draw depends on (seed,
    epoch or step) alone, as in PatchData.
    """

    def __init__(self, new: PatchData, old: PatchData, share: float, seed: int) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"replay: expected a share of the old slices in (0, 1], got {share}")
        if len(old) == 0:
            raise ValueError("replay: the old task's data set has no training slices")
        if old.shape != new.shape:
            raise ValueError(
                f"replay: old volumes of shape {old.shape}, new ones of {new.shape}: one grid is needed"
            )
        self.new, self.old, self.seed, self.device = new, old, seed, new.device
        order = torch.randperm(len(old), generator=torch_generator(seed, "kept"))
        self.kept = order[: max(1, round(share * len(old)))].sort().values

    def __len__(self) -> int:
        return len(self.new) + len(self.kept)

    def epoch_order(self, epoch: int, count: int) -> Tensor:
        """Rows of the `count` patches of an epoch: permutations one after the other."""
        generator = torch_generator(self.seed, "epoch", epoch)
        rounds = -(-count // len(self))
        return torch.cat([torch.randperm(len(self), generator=generator) for _ in range(rounds)])[
            :count
        ]

    def batch(self, rows: Tensor, step: int, augment: bool = True) -> Batch:
        """Cut one patch for each of `rows` (B,), in their order; `step` numbers the draw."""
        is_new = rows < len(self.new)
        parts = [
            data.batch(own, step, augment)
            for data, own in (
                (self.new, rows[is_new]),
                (self.old, self.kept[rows[~is_new] - len(self.new)]),
            )
            if len(own)
        ]
        place = (
            torch.cat([is_new.nonzero()[:, 0], (~is_new).nonzero()[:, 0]]).argsort().to(self.device)
        )
        noisy, target = (
            torch.cat([getattr(p, key) for p in parts])[place] for key in ("noisy", "target")
        )
        return Batch(noisy, target, rows)

    def describe(self, rows: Tensor) -> str:
        """The slices of a batch, for an error message."""
        is_new = rows < len(self.new)
        texts = [self.new.describe(rows[is_new])] if bool(is_new.any()) else []
        if not bool(is_new.all()):
            texts.append(f"old: {self.old.describe(self.kept[rows[~is_new] - len(self.new)])}")
        return "; ".join(texts)
