"""The loss of a network on patches that stay the same."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from ..config.sections import Training
from ..dataset.patches import Batch, Patches
from .tradeoff import JUDGED_PATCHES

LOSSES = {"mse": functional.mse_loss, "l1": functional.l1_loss}
VALIDATION_PATCHES = 128  # during training


def task_loss(model: nn.Module, data: Patches, settings: Training) -> float:
    """Loss over the same patches of `data` every time; the model is left in evaluation mode."""
    batches = fixed_batches(data, settings, JUDGED_PATCHES)
    return validate(model, batches, settings.loss)[0]


def fixed_batches(
    data: Patches | None, settings: Training, patches: int = VALIDATION_PATCHES
) -> list[Batch]:
    """The same patches of `data` every time, not turned; none without data."""
    if data is None or len(data) == 0:
        return []

    # Negative numbers: draws that no training step has.
    rows = data.epoch_order(0, patches)
    batches = []
    for i, part in enumerate(rows.split(settings.batch)):
        batches.append(data.batch(part, -1 - i, augment=False))

    return batches


@torch.no_grad()
def validate(model: nn.Module, batches: list[Batch], loss: str) -> tuple[float, float]:
    """Loss and PSNR (dB, peak = the largest target) over held-out patches.

    NaN where there are none. The model is left in evaluation mode.
    """
    if not batches:
        return math.nan, math.nan

    model.eval()
    mean_loss = _mean_loss(model, batches, loss)
    mse = _mean_loss(model, batches, "mse")
    peak = max(float(b.target.max()) for b in batches)
    psnr_db = 10 * math.log10(peak**2 / max(mse, 1e-20))

    return mean_loss, psnr_db


def _mean_loss(model: nn.Module, batches: list[Batch], loss: str) -> float:
    """The mean over patches: a batch counts by its size."""
    total = 0.0
    n_patches = 0
    for batch in batches:
        noisy = batch.noisy.contiguous(memory_format=torch.channels_last)
        value = LOSSES[loss](model(noisy), batch.target)
        total += float(value) * len(batch.rows)
        n_patches += len(batch.rows)

    return total / n_patches
