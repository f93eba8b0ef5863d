"""TGD in a Lightning Trainer: a callback, and no other change.

A small denoiser learns coarse noise, then fine noise with its redundant kernels alone.

    pip install tgdpet lightning  # or, from a checkout: export PYTHONPATH=scripts
    python examples/lightning_callback.py [--epochs N]
"""

from __future__ import annotations

import argparse
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from tgdpet import TGD


class RetrainRedundant(lightning.Callback):
    """Retrains the redundant kernels of `module.network`; all others keep their bits."""

    def __init__(self, example: Tensor, fraction: float = 0.3) -> None:
        self.example = example
        self.fraction = fraction

    def setup(self, trainer: Any, module: Any, stage: str) -> None:
        """Attach, before anything wraps the network."""
        if stage == "fit":
            self.tgd = TGD(module.network, fraction=self.fraction, example_input=self.example)

    def teardown(self, trainer: Any, module: Any, stage: str) -> None:
        """Detach; every useful bit is checked."""
        if stage == "fit":
            self.tgd.detach()


class Denoiser(lightning.LightningModule):
    """A LightningModule that knows nothing of TGD."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 1, 3, padding=1),
        )

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """The loss of a batch of noisy and clean images."""
        noisy, clean = batch
        return functional.mse_loss(noisy - self.network(noisy), clean)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """All parameters: what is frozen gets no gradient."""
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


def pairs(noise: float, seed: int) -> DataLoader:
    """Noisy and clean images, in batches."""
    generator = torch.Generator().manual_seed(seed)
    clean = torch.rand(64, 1, 16, 16, generator=generator)
    noisy = clean + noise * torch.randn(clean.shape, generator=generator)
    return DataLoader(TensorDataset(noisy, clean), batch_size=16)


def fit(module: Denoiser, data: DataLoader, epochs: int, *callbacks: lightning.Callback) -> None:
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)


def main() -> None:
    """Train, adapt, compare bits."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=5)
    args = parser.parse_args()

    torch.manual_seed(0)
    module = Denoiser()
    fit(module, pairs(0.3, seed=1), args.epochs)
    before = module.network[2].weight.detach().clone()

    retrain = RetrainRedundant(torch.zeros(1, 1, 16, 16))
    fit(module, pairs(0.1, seed=2), args.epochs, retrain)

    redundant = retrain.tgd.masks["2"]
    same = (module.network[2].weight == before).flatten(1).all(1)
    n_useful = int((~redundant).sum())
    print(f"useful kernels with the same bits: {int(same[~redundant].sum())} of {n_useful}")
    print(f"redundant kernels retrained: {int((~same[redundant]).sum())} of {int(redundant.sum())}")


if __name__ == "__main__":
    main()
