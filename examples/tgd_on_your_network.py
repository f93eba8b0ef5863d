"""TGD on somebody else's network, in five lines (marked below).

A U-Net that knows nothing of TGD learns to remove coarse noise; then the images change to fine
noise. Its redundant kernels are found and retrained on a few of the new images, and all others keep
every bit.

    pip install tgdpet            # or, from a checkout: export PYTHONPATH=scripts
    python examples/tgd_on_your_network.py [--network MODULE:FUNCTION] [--steps N] [--fraction F]

`--network package.module:function` takes a network of your own: a function without arguments that
returns an nn.Module, one channel in and out.
"""

from __future__ import annotations

import argparse
import importlib

import torch
from torch import Tensor, nn
from torch.nn import functional

from tgdpet import tgd

SIZE = 32


class UNet(nn.Module):
    """The network of somebody who never heard of TGD: two levels, a concatenation, one channel in
    and out.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.top = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.down = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.GroupNorm(4, 2 * width)
        )
        self.low = nn.Sequential(
            nn.SiLU(), nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.SiLU()
        )
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.out = nn.Sequential(
            nn.Conv2d(2 * width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, Y, X) -> same shape."""
        top = self.top(x)
        return x + self.out(torch.cat([top, self.up(self.low(self.down(top)))], 1))


def images(n: int, grain: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy and clean discs (n, 1, SIZE, SIZE); the noise's grain is `grain` pixels wide."""
    generator = torch.Generator().manual_seed(seed)
    place = (
        torch.arange(SIZE) - torch.rand(n, 3, 2, 1, generator=generator) * SIZE
    )  # three discs an image
    distance = (place[:, :, 0, :, None] ** 2 + place[:, :, 1, None, :] ** 2).sqrt()
    radius = 3 + 5 * torch.rand(n, 3, 1, 1, generator=generator)
    clean = torch.sigmoid(2 * (radius - distance)).sum(1, keepdim=True)
    noise = torch.randn(n, 1, SIZE, SIZE, generator=generator)
    noise = functional.avg_pool2d(noise, grain, 1, grain // 2)[..., :SIZE, :SIZE] * grain
    return clean + 0.4 * noise, clean


def train(
    network: nn.Module,
    data: tuple[Tensor, Tensor],
    steps: int,
    optimizer: torch.optim.Optimizer,
    step,
) -> None:
    """An ordinary loop; `step(optimizer)` is all that TGD needs of it."""
    noisy, clean = data
    generator = torch.Generator().manual_seed(0)
    network.train()
    for _ in range(steps):
        batch = torch.randint(len(noisy), (16,), generator=generator)
        optimizer.zero_grad()
        functional.mse_loss(network(noisy[batch]), clean[batch]).backward()
        step(optimizer)


@torch.no_grad()
def error(network: nn.Module, data: tuple[Tensor, Tensor]) -> float:
    """Root mean square error."""
    return float(functional.mse_loss(network.eval()(data[0]), data[1]).sqrt())


def report(
    title: str, network: nn.Module, old: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor]
) -> None:
    """One line of errors."""
    print(
        f"{title}: RMSE {error(network, old):.4f} on old images, {error(network, new):.4f} on new ones"
    )


def same_kernels(
    network: nn.Module, before: dict[str, Tensor], masks: dict[str, Tensor]
) -> tuple[int, int]:
    """How many useful kernels have the same bits as before, and how many there are."""
    same, total = 0, 0
    for name, conv in network.named_modules():
        if not isinstance(conv, (nn.Conv2d, nn.ConvTranspose2d)):
            continue
        axis = 1 if conv.transposed else 0
        bits, start = (
            w.view(torch.int32).movedim(axis, 0)
            for w in (conv.weight.detach(), before[f"{name}.weight"])
        )
        useful = ~masks.get(name, torch.zeros(len(bits), dtype=torch.bool))
        same += int((bits == start).flatten(1).all(1)[useful].sum())
        total += int(useful.sum())
    return same, total


def main() -> None:
    """Train on old images, adapt to new ones, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--network", help="MODULE:FUNCTION that returns a network; default: the U-Net of this file"
    )
    parser.add_argument("--steps", type=int, default=300, help="training steps, before and after")
    parser.add_argument(
        "--fraction", type=float, default=0.3, help="share of the kernels to retrain"
    )
    args = parser.parse_args()
    torch.manual_seed(0)
    if args.network:
        module, _, function = args.network.partition(":")
        network = getattr(importlib.import_module(module), function)()
    else:
        network = UNet()
    old, old_test = images(200, 3, seed=1), images(50, 3, seed=2)
    new, new_test = images(50, 1, seed=3), images(50, 1, seed=4)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    train(network, old, args.steps, optimizer, lambda o: o.step())
    report("before", network, old_test, new_test)
    before = {n: p.detach().clone() for n, p in network.named_parameters()}
    example = new[0][:1]

    scores = tgd.score_kernels(
        network, example
    )  # line 1: how much each kernel matters to whoever reads it
    masks = tgd.select(scores, fraction=args.fraction)  # line 2: True = redundant, to be retrained
    with tgd.TGD(network, masks) as layer:  # line 3
        optimizer = torch.optim.Adam(layer.parameters(), lr=2e-3)  # line 4
        train(
            network, new, args.steps, optimizer, layer.step
        )  # line 5: any loop that steps through the layer

    report("after TGD", network, old_test, new_test)
    counts = layer.counts()
    print(f"kernels retrained: {counts['kernels_retrained']} of {counts['kernels_total']}")
    print(
        "useful kernels with the same bits: {} of {}".format(*same_kernels(network, before, masks))
    )


if __name__ == "__main__":
    main()
