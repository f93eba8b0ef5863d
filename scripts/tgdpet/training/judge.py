"""Networks compared by their losses on the old and the new task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from ..config.sections import Training
from ..config.sweep import MEASURED, PLAIN
from ..dataset.patches import PatchData
from .tasks import held_out_seed, read_patches
from .validation import task_loss


def judge(
    index: Path, settings: Training, scale: float, seed: int, device: torch.device
) -> tuple[PatchData, bool]:
    """The patches of a task that networks are compared on, and whether they were held out.

    The same for all networks. They are of the studies held out of training, or of training where
    there are none.
    """
    patch_seed = held_out_seed(seed)
    held_out = read_patches(index, "val", settings, scale, patch_seed, device)
    if len(held_out):
        return held_out, True

    return read_patches(index, "train", settings, scale, patch_seed, device), False


def measured(
    networks: Mapping[float, tuple[str, nn.Module]],
    drops: Sequence[Mapping[str, Any]],
    old: tuple[PatchData, bool],
    new: tuple[PatchData, bool],
    settings: Training,
) -> pd.DataFrame:
    """The table MEASURED of one run: a row for each phi of `networks` (name and network).

    phi = 0 is the base. `drops` are the rows of `drop_kernels.experiment` on the base; plain
    fine-tuning (`PLAIN`) counts as all kernels, and nothing is dropped there. Losses are those of
    `settings`, on the patches of `judge`.
    """
    old_patches, old_held_out = old
    new_patches, new_held_out = new
    dropped = {row["phi"]: row for row in drops}

    rows = []
    for phi, (name, model) in networks.items():
        plain = phi == PLAIN
        drop = dropped[0.0 if plain else phi]
        below = "total" if plain else "dropped"
        rows.append(
            {
                "network": name,
                "phi": phi,
                "kernels_below": drop[f"kernels_{below}"],
                "kernels_total": drop["kernels_total"],
                "parameters_below": drop[f"parameters_{below}"],
                "parameters_total": drop["parameters_total"],
                "relative_change": math.nan if plain else drop["relative_change"],
                "old_loss": task_loss(model.to(old_patches.device), old_patches, settings),
                "new_loss": task_loss(model.to(new_patches.device), new_patches, settings),
                "old_held_out": old_held_out,
                "new_held_out": new_held_out,
            }
        )

    return pd.DataFrame(rows)[MEASURED]
