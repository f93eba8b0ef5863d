"""Rehearsal: patches of the new task with a share of the old one's among them.

Replay keeps some of the old slices, joint training all of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..runtime.seeds import torch_generator
from .patches import Batch, Patches, repeated_permutations


class Mixed:
    """New slices and a fixed, seeded share of the old ones as one data set.

    They are drawn in proportion to their numbers. `share` in (0, 1] of the old slices are kept, at
    least one; 1 is joint training. Rows 0 to len(new) - 1 are the new slices, the others the kept
    old ones. Every draw depends on (seed, epoch or step) alone, as in PatchData.
    """

    def __init__(self, new: Patches, old: Patches, share: float, seed: int) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"replay: expected a share of the old slices in (0, 1], got {share}")
        if len(old) == 0:
            raise ValueError("replay: the old task's data set has no training slices")

        self.new = new
        self.old = old
        self.seed = seed
        self.device = new.device

        count = max(1, round(share * len(old)))
        order = torch.randperm(len(old), generator=torch_generator(seed, "kept"))
        self.kept = order[:count].sort().values

    def __len__(self) -> int:
        return len(self.new) + len(self.kept)

    def epoch_order(self, epoch: int, count: int) -> Tensor:
        """Rows of the `count` patches of an epoch: permutations one after the other."""
        return repeated_permutations(len(self), count, self.seed, epoch)

    def batch(self, rows: Tensor, step: int, augment: bool = True) -> Batch:
        """Cut one patch for each of `rows` (B,), in their order; `step` numbers the draw."""
        is_new = rows < len(self.new)
        new_rows, old_rows = self._split(rows)

        batches = []
        if len(new_rows):
            batches.append(self.new.batch(new_rows, step, augment))
        if len(old_rows):
            batches.append(self.old.batch(old_rows, step, augment))

        # Where each row's patch lies in the new patches followed by the old ones.
        new_positions = is_new.nonzero()[:, 0]
        old_positions = (~is_new).nonzero()[:, 0]
        order = torch.cat([new_positions, old_positions])
        position = order.argsort().to(self.device)
        noisy = torch.cat([b.noisy for b in batches])[position]
        target = torch.cat([b.target for b in batches])[position]

        return Batch(noisy, target, rows)

    def describe(self, rows: Tensor) -> str:
        """The slices of a batch, for an error message."""
        new_rows, old_rows = self._split(rows)

        parts = []
        if len(new_rows):
            parts.append(self.new.describe(new_rows))
        if len(old_rows):
            parts.append(f"old: {self.old.describe(old_rows)}")

        return "; ".join(parts)

    def _split(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of the new data set, and those of the old one."""
        n_new = len(self.new)
        is_new = rows < n_new
        old_numbers = rows[~is_new] - n_new

        return rows[is_new], self.kept[old_numbers]
