"""A task that a network is trained for: patches to train on, and patches to compare networks by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..config.sections import Training
from ..dataset.patches import PatchData, Patches
from ..runtime.seeds import derive


@dataclass(frozen=True)
class Task:
    """Patches of the studies that are trained on, and of those held out from training."""

    train: Patches
    held_out: PatchData | None = None

    @property
    def has_held_out(self) -> bool:
        """Whether a study is held out."""
        return self.held_out is not None and len(self.held_out) > 0

    @property
    def judged(self) -> Patches:
        """The patches that networks are compared on: held out, or of training where none are."""
        if self.held_out is not None and len(self.held_out) > 0:
            return self.held_out

        return self.train


def held_out_seed(seed: int) -> int:
    """The seed of held-out patches in a run of `seed`.

    They are the same for every network, so that losses can be compared.
    """
    return derive(seed, "held out")


def read_patches(
    index: Path,
    split: str,
    settings: Training,
    scale: float,
    seed: int,
    device: torch.device,
    volumes: str = "auto",
) -> PatchData:
    """The patches of a split, `train` or `val`, cut as `settings` say."""
    return PatchData(
        index,
        split,
        scale=scale,
        patch=settings.patch,
        air_fraction=settings.air_fraction,
        seed=seed,
        device=device,
        volumes=volumes,
    )
