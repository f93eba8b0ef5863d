"""TGD on somebody else's network, in five lines (marked below).

A U-Net that knows nothing of TGD learns to remove coarse noise; then the images change to fine
noise. Its redundant kernels are scored, selected and retrained on a few of the new images, and all
others keep every bit.

    pip install tgdpet            # or, from a checkout: export PYTHONPATH=scripts
    python examples/tgd_on_your_network.py [--network MODULE:FUNCTION] [--steps N] [--fraction F]

`--network package.module:function` takes a network of your own: a function without arguments that
returns an nn.Module, one channel in and out.
"""

from __future__ import annotations

import argparse
import importlib
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from tgdpet import tgd

SIZE = 32  # pixels along each axis


class Images(NamedTuple):
    """Noisy and clean images, both (n, 1, SIZE, SIZE)."""

    noisy: Tensor
    clean: Tensor


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
        low = self.low(self.down(top))
        both = torch.cat([top, self.up(low)], 1)

        return x + self.out(both)


def make_images(n: int, noise_width: int, seed: int) -> Images:
    """Noisy and clean discs; neighbours within `noise_width` pixels have noise in common."""
    generator = torch.Generator().manual_seed(seed)

    # Three discs an image.
    centre = torch.rand(n, 3, 2, 1, generator=generator) * SIZE
    offset = torch.arange(SIZE) - centre
    dy = offset[:, :, 0, :, None]
    dx = offset[:, :, 1, None, :]
    distance = (dy**2 + dx**2).sqrt()
    radius = 3 + 5 * torch.rand(n, 3, 1, 1, generator=generator)
    clean = torch.sigmoid(2 * (radius - distance)).sum(1, keepdim=True)

    white = torch.randn(n, 1, SIZE, SIZE, generator=generator)
    blurred = functional.avg_pool2d(white, noise_width, 1, noise_width // 2)
    noise = blurred[..., :SIZE, :SIZE] * noise_width

    return Images(clean + 0.4 * noise, clean)


def train(
    network: nn.Module,
    images: Images,
    steps: int,
    optimizer: torch.optim.Optimizer,
) -> None:
    """An ordinary loop."""
    generator = torch.Generator().manual_seed(0)
    network.train()

    for _ in range(steps):
        batch = torch.randint(len(images.noisy), (16,), generator=generator)

        optimizer.zero_grad()
        denoised = network(images.noisy[batch])
        loss = functional.mse_loss(denoised, images.clean[batch])
        loss.backward()
        optimizer.step()


@torch.no_grad()
def rmse(network: nn.Module, images: Images) -> float:
    """Root mean square error of the denoised images."""
    network.eval()
    return float(functional.mse_loss(network(images.noisy), images.clean).sqrt())


def report(title: str, network: nn.Module, old: Images, new: Images) -> None:
    """One line of errors."""
    on_old = rmse(network, old)
    on_new = rmse(network, new)
    print(f"{title}: RMSE {on_old:.4f} on old images, {on_new:.4f} on new ones")


def same_kernels(
    network: nn.Module, before: dict[str, Tensor], masks: dict[str, Tensor]
) -> tuple[int, int]:
    """How many useful kernels have the same bits as before, and how many there are."""
    n_same = 0
    n_useful = 0

    for name, conv in network.named_modules():
        if not isinstance(conv, (nn.Conv2d, nn.ConvTranspose2d)):
            continue

        kernel_axis = 1 if conv.transposed else 0
        bits = conv.weight.detach().view(torch.int32).movedim(kernel_axis, 0)
        bits_before = before[f"{name}.weight"].view(torch.int32).movedim(kernel_axis, 0)
        same = (bits == bits_before).flatten(1).all(1)

        none = torch.zeros(len(bits), dtype=torch.bool)
        useful = ~masks.get(name, none)

        n_same += int(same[useful].sum())
        n_useful += int(useful.sum())

    return n_same, n_useful


def make_network(name: str | None) -> nn.Module:
    """The network of MODULE:FUNCTION, or the U-Net of this file."""
    if name is None:
        return UNet()

    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)()


def parse_arguments() -> argparse.Namespace:
    """The command line."""
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
    return parser.parse_args()


def main() -> None:
    """Train on old images, adapt to new ones, report."""
    args = parse_arguments()
    torch.manual_seed(0)
    network = make_network(args.network)

    old = make_images(200, 3, seed=1)
    old_test = make_images(50, 3, seed=2)
    new = make_images(50, 1, seed=3)
    new_test = make_images(50, 1, seed=4)

    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    train(network, old, args.steps, optimizer)
    report("before", network, old_test, new_test)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}

    # From here on, TGD: the five lines.
    example = new.noisy[:1]
    scores = tgd.score_kernels(network, example)  # line 1: KSE, as each kernel's consumers see it
    masks = tgd.select(scores, fraction=args.fraction)  # line 2: True = redundant, to be retrained
    with tgd.TGD(network, masks) as layer:  # line 3
        optimizer = torch.optim.Adam(layer.parameters(), lr=2e-3)  # line 4
        train(network, new, args.steps, optimizer)  # line 5: any loop

    report("after TGD", network, old_test, new_test)
    counts = layer.counts()
    n_same, n_useful = same_kernels(network, before, masks)
    print(f"kernels retrained: {counts['kernels_retrained']} of {counts['kernels_total']}")
    print(f"useful kernels with the same bits: {n_same} of {n_useful}")


if __name__ == "__main__":
    main()
