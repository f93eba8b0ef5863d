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
from ..runtime.seeds import derive
from .loop import task_loss


def judge(
    index: Path, settings: Training, scale: float, seed: int, device: torch.device
) -> tuple[PatchData, bool]:
    """The patches of a task that networks are compared on, the same for all, and whether they were
    held out.

    They are of the studies held out of training, or of training where there are none.
    """
    for split in ("val", "train"):
        data = PatchData(
            index, split, scale=scale, patch=settings.patch, air_fraction=settings.air_fraction,
            seed=derive(seed, "held out"), device=device,
        )  # fmt: skip
        if len(data):
            break
    return data, split == "val"


def measured(
    networks: Mapping[float, tuple[str, nn.Module]],
    drops: Sequence[Mapping[str, Any]],
    old: tuple[PatchData, bool],
    new: tuple[PatchData, bool],
    settings: Training,
) -> pd.DataFrame:
    """The table MEASURED of one run: a row for each phi of `networks` (name and network), 0 being
    the base.

    `drops` are the rows of `drop.experiment` on the base; plain fine-tuning (`PLAIN`) counts as all
    kernels, and nothing is dropped there. Losses are those of `settings`, on the patches of
    `judge`.
    """
    dropped = {row["phi"]: row for row in drops}
    rows = []
    for phi, (name, model) in networks.items():
        row = dropped[0.0 if phi == PLAIN else phi]
        counts = {
            f"{w}_{end}": row[f"{w}_total"]
            for w in ("kernels", "parameters")
            for end in ("below", "total")
        }
        if phi != PLAIN:
            counts |= {f"{w}_below": row[f"{w}_dropped"] for w in ("kernels", "parameters")}
        losses = {
            f"{what}_loss": task_loss(model.to(data.device), data, settings)
            for what, (data, _) in (("old", old), ("new", new))
        }
        change = math.nan if phi == PLAIN else row["relative_change"]
        held = {"old_held_out": old[1], "new_held_out": new[1]}
        rows.append(
            {"network": name, "phi": phi, **counts, "relative_change": change, **losses, **held}
        )
    return pd.DataFrame(rows)[MEASURED]
