"""Shared by the tests of training: a tiny data set, a tiny network, bitwise comparison."""

from __future__ import annotations

import os
import signal

import numpy as np
import pandas as pd
import torch
from torch import nn

from tgdpet.config.sections import Compute, Training
from tgdpet.dataset.index import INDEX_COLUMNS
from tgdpet.dataset.patches import PatchData
from tgdpet.networks.dncnn import DnCNN
from tgdpet.training.loop import fit
from tgdpet.training.run import TrainingRun

CPU = torch.device("cpu")
SETTINGS = Training(epochs=6, batch=4, patch=16, learning_rate=3e-3, l2=1e-4)


def write_index(folder, seed=0, gamma_shape=8, samples=("60s",)):
    """Two studies of noisy and one clean volume, one for training and one held out.

    The noise is multiplied, of mean 1 and variance 1 / `gamma_shape`. Returns the index table's
    path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (study, split) in enumerate([("a", "train"), ("b", "val")]):
        rng = np.random.default_rng(seed + number)
        clean = np.zeros((8, 24, 24), np.float32)
        clean[:, 3:21, 3:21] = 1000 + 300 * np.sin(np.arange(18) / 2 + seed)

        noisy = []
        for _ in samples:
            noise = rng.gamma(gamma_shape, 1 / gamma_shape, clean.shape)
            noisy.append(clean * noise.astype(np.float32))
        np.save(folder / f"{study}.npy", np.stack([*noisy, clean]))

        target = len(samples)
        for volume, sample in enumerate(samples):
            for z in range(8):
                rows.append((study, split, f"{study}.npy", sample, volume, target, z, 0.5))

    path = folder / "index.tsv"
    pd.DataFrame(rows, columns=INDEX_COLUMNS).to_csv(path, sep="\t", index=False)
    return path


def parts(index, settings=SETTINGS, seed=1):
    """Training and held-out patches."""
    return [
        PatchData(
            index,
            split,
            scale=1000.0,
            patch=settings.patch,
            air_fraction=0.05,
            seed=seed,
            device=CPU,
        )
        for split in ("train", "val")
    ]


def network(seed=0):
    """A DnCNN of 4 to 16 channels."""
    return DnCNN(0.0625, torch.Generator().manual_seed(seed))


def trained(index, folder, name="net", settings=SETTINGS, **compute):
    """A network trained on the data set, and the log's rows."""
    model = network()
    run = TrainingRun("net", folder / f"{name}.csv", compute=Compute(**compute))

    return model, fit(model, *parts(index), settings, run)


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of everything the network keeps."""
    return {n: t.detach().clone().contiguous() for n, t in model.state_dict().items()}


def same(a, b):
    """Whether two states have the same bits."""
    return all(
        torch.equal(a[n].reshape(-1).view(torch.uint8), b[n].reshape(-1).view(torch.uint8))
        for n in a
    )


def stop_at(data, call):
    """Let the `call`-th batch of `data` bring SIGTERM."""
    draw, calls = data.batch, []

    def batch(*args, **options):
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return draw(*args, **options)

    data.batch = batch
