"""A sweep over phi measured: what each phi gains and forgets, what dropping below it changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..config.sections import Training
from ..config.sweep import PLAIN
from ..io import nifti
from ..networks import drop_kernels, weights
from ..networks.score_table import read_scores
from ..runtime.progress import Progress
from . import judge

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Files:
    """What is measured: the base network and its scores, the network retrained at each phi.

    `old` and `new` are the index tables of both tasks, `image` (Bq/mL) is what kernels are dropped
    on, `reference` its whole scan.
    """

    base: Path
    scores: Path
    networks: Mapping[float, Path]
    old: Path
    new: Path
    image: Path
    reference: Path


def measure(files: Files, settings: Training, seed: int, device: torch.device) -> pd.DataFrame:
    """The table MEASURED of one run: a row for the base (phi = 0) and for each phi."""
    base, card = weights.load(files.base, device)
    scale = card.intensity_scale_bqml

    networks = {0.0: (card.network, base)}
    for phi, path in files.networks.items():
        model, retrained = weights.load(path, device)
        networks[phi] = (retrained.network, model)

    old = judge.judge(files.old, settings, scale, seed, device)
    new = judge.judge(files.new, settings, scale, seed, device)

    noisy = nifti.read_image(files.image)
    image = noisy.data
    reference = nifti.read_like(files.reference, noisy, files.image)
    thresholds = [phi for phi in files.networks if phi != PLAIN]
    scores = read_scores(files.scores, base.scored)

    n_slices = image.shape[2] * (len(thresholds) + 1)
    with Progress(n_slices, "drop kernels", "slices") as bar:
        drops, _ = drop_kernels.experiment(
            base, scores, image, reference, thresholds, scale, device, bar.update
        )

    return judge.measured(networks, drops, old, new, settings)
