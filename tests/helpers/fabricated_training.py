"""Logs and sidecars of made-up trainings, for `fabricate`."""

from __future__ import annotations

import numpy as np
import pandas as pd


def training_log(generator: np.random.Generator, validated: bool) -> pd.DataFrame:
    """A falling loss, as `NAME_log.csv` has it."""
    step = np.arange(0, 400, 8)
    loss = 0.02 + 0.1 * np.exp(-step / 60) + 0.002 * generator.standard_normal(len(step))
    validation_loss = np.where(step % 40 == 0, loss * 1.1, np.nan) if validated else np.nan
    return pd.DataFrame(
        {
            "step": step,
            "epoch": step // 50,
            "loss": loss,
            "validation_loss": validation_loss,
            "validation_psnr": 30.0,
            "learning_rate": 1e-3,
            "pixels_per_s": 1e6,
            "seconds_left": 0.0,
            "old_loss": 0.03 + 1e-5 * step,
        }
    )


def training_sidecar(adapted: bool) -> dict[str, object]:
    """What a network's sidecar says of its making."""
    counts = {
        "kernels_total": 224,
        "kernels_retrained": 57,
        "useful_unchanged": True,
        "parameters_total": 82000,
        "parameters_retrained": 12000,
        "start_validation_loss": 0.14,
        "start_old_loss": 0.03,
    }
    made = {
        "software": {"tgdpet": "0.1.0", "commit": "abc"},
        "device": "cpu",
        "seed": 1,
        "wall_s": 9.0,
        "finished": "2026-01-01T00:00:00",
    }
    return {**counts, **made} if adapted else made
