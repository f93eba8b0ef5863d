"""The paper's online learning on one noisy study, with a network of the user's own.

A study's list mode is split into two halves of equal counts. Each half is a target for the other
(Noise2Noise, Lehtinen et al. 2018), so that a network can learn from the study that it is to
denoise; TGD lets only redundant kernels move. Printed are the errors before and after and what kept
its bits; a PNG shows the images.

    pip install tgdpet matplotlib   # or, from a checkout: export PYTHONPATH=scripts
    python examples/online_learning.py [HALF1.nii.gz HALF2.nii.gz] [--steps N] [--out FILE.png]

Without files a small study is simulated: a bladder and a catheter, which the network has not seen.
With files there is no truth, and the error is the network's disagreement with the other half, which
holds that half's noise too.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tgdpet import tgd
from tgdpet.dataset.halves import check_halves
from tgdpet.io.nifti import Image, read_plain
from tgdpet.io.orientation import grid_difference

SIZE = 64  # pixels along each axis of a slice
SLICES = 12
COUNTS = 30.0  # a pixel of activity 1


class Study(NamedTuple):
    """Two halves (slices, Y, X), each an unbiased image of the same object; the truth where it is
    known.
    """

    first: Tensor
    second: Tensor
    truth: Tensor | None


class Images(NamedTuple):
    """An image of each half, (slices, Y, X); the study's image is their mean."""

    first: Tensor
    second: Tensor

    @property
    def mean(self) -> Tensor:
        """The study's image."""
        return (self.first + self.second) / 2


class YourNetwork(nn.Module):
    """Any network will do: here a residual one with a skip inside."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()

        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.middle = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
            )
            for _ in range(3)
        )
        self.last = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, Y, X) -> same shape."""
        y = functional.relu(self.first(x))
        for block in self.middle:
            y = y + block(y)

        return x - self.last(y)


def body() -> Tensor:
    """(SIZE, SIZE), 0.5 inside."""
    offset = torch.arange(SIZE) - SIZE / 2
    y, x = torch.meshgrid(offset, offset, indexing="ij")
    distance = (x**2 + 1.5 * y**2).sqrt()

    return 0.5 * torch.sigmoid(26 - distance)


def discs(n: int, generator: torch.Generator) -> Tensor:
    """Activity (n, SIZE, SIZE): a body and six organs or lesions, which is all that the network is
    trained on.
    """
    centre = SIZE * (0.2 + 0.6 * torch.rand(n, 6, 2, 1, generator=generator))
    offset = torch.arange(SIZE) - centre
    dy = offset[:, :, 0, :, None]
    dx = offset[:, :, 1, None, :]
    distance = (dy**2 + dx**2).sqrt()

    radius = 2 + 5 * torch.rand(n, 6, 1, 1, generator=generator)
    uptake = torch.rand(n, 6, 1, 1, generator=generator)
    organs = (uptake * torch.sigmoid(radius - distance)).sum(1)

    return body() + organs


def blurred(activity: Tensor) -> Tensor:
    """The activity (n, Y, X) as the scanner would see it without noise."""
    return functional.avg_pool2d(activity[:, None], 3, 1, 1, count_include_pad=False)[:, 0]


def measured(activity: Tensor, counts: float, generator: torch.Generator) -> Tensor:
    """A blurred Poisson image of the activity (n, Y, X), `counts` a pixel where the activity is
    1.
    """
    expected = counts * activity.clamp(min=0)
    events = torch.poisson(expected, generator=generator)

    return blurred(events / counts)


def simulated(seed: int = 5) -> Study:
    """A study with a bladder of five times the uptake and a catheter, a thin bright line."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(SIZE) - 38.0, torch.arange(SIZE) - 32.0, indexing="ij")

    bladder = 5 * torch.sigmoid(8 - (x**2 + 1.3 * y**2).sqrt())
    from_line = (y + 16 + 6 * torch.sin(x / 6)) / 0.9
    catheter = 3 * torch.exp(-0.5 * from_line**2) * (x.abs() < 20)
    activity = (body() + bladder + catheter).repeat(SLICES, 1, 1)

    first = measured(activity, COUNTS, generator)
    second = measured(activity, COUNTS, generator)

    return Study(first, second, blurred(activity))


def from_files(first: Path, second: Path) -> Study:
    """Two NIfTI images of one study on one grid (X, Y, Z), scaled so that the 99th percentile of
    the first is 1.
    """
    try:
        a, affine_a = read_plain(first)
        b, affine_b = read_plain(second)
        if difference := grid_difference(b.shape, affine_b, a.shape, affine_a):
            raise ValueError(f"{second}: {difference}, as in {first}")

        names = (str(first), str(second))
        check_halves(Image(a, affine_a), Image(b, affine_b), names)
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from None

    scale = float(np.percentile(a, 99))
    half_a = torch.from_numpy(a.transpose(2, 1, 0).copy() / scale)
    half_b = torch.from_numpy(b.transpose(2, 1, 0).copy() / scale)

    return Study(half_a, half_b, None)


def pretrain(network: nn.Module, steps: int) -> None:
    """Supervised training on discs: what the network knew before it met the study."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    network.train()

    for _ in range(steps):
        activity = discs(8, generator)
        target = blurred(activity)[:, None]
        noisy = measured(activity, COUNTS, generator)[:, None]

        optimizer.zero_grad()
        loss = functional.mse_loss(network(noisy), target)
        loss.backward()
        optimizer.step()


def learn_online(network: nn.Module, study: Study, layer: tgd.TGD, steps: int) -> None:
    """Noise2Noise: slices of the first half predict those of the second, and the other way
    round.
    """
    inputs = torch.cat([study.first, study.second])[:, None]
    targets = torch.cat([study.second, study.first])[:, None]

    generator = torch.Generator().manual_seed(2)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-3)
    network.train()

    for _ in range(steps):
        batch = torch.randint(len(inputs), (8,), generator=generator)
        n_flips = int(torch.randint(3, (), generator=generator))
        axes = [2, 3][:n_flips]
        x = inputs[batch].flip(axes)
        y = targets[batch].flip(axes)

        optimizer.zero_grad()
        loss = functional.mse_loss(network(x), y)
        loss.backward()
        layer.step(optimizer)


@torch.no_grad()
def denoise(network: nn.Module, study: Study) -> Images:
    """Each half denoised."""
    network.eval()
    halves = [
        torch.cat([network(slice_[None, None])[0] for slice_ in half])
        for half in (study.first, study.second)
    ]

    return Images(*halves)


def rmse(images: Images, study: Study) -> float:
    """RMSE to the truth, or of each half to the other half as measured."""
    if study.truth is not None:
        return float(functional.mse_loss(images.mean, study.truth).sqrt())

    other_halves = torch.cat([study.second, study.first])
    return float(functional.mse_loss(torch.cat(images), other_halves).sqrt())


def draw(path: Path, panels: dict[str, Tensor]) -> None:
    """The middle slice of each volume in inverse grey on one scale."""
    size = (3 * len(panels), 3.2)  # inches
    figure, axes = plt.subplots(1, len(panels), figsize=size, layout="constrained")

    middle = len(panels["measured"]) // 2
    darkest = float(torch.quantile(panels["measured"][middle], 0.998))

    for axis, (title, volume) in zip(axes, panels.items(), strict=True):
        shown = axis.imshow(volume[middle].numpy(), cmap="gray_r", vmin=0, vmax=darkest)
        axis.set(title=title, xticks=[], yticks=[])

    figure.colorbar(shown, ax=axes, label="activity, relative", shrink=0.8)
    figure.savefig(path, dpi=120)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "halves", nargs="*", type=Path, help="two NIfTI images, one of each half of the list mode"
    )
    parser.add_argument(
        "--steps", type=int, default=150, help="online steps; pre-training takes twice as many"
    )
    parser.add_argument(
        "--fraction", type=float, default=0.4, help="share of the kernels to retrain"
    )
    parser.add_argument("--out", type=Path, default=Path("online_learning.png"))
    args = parser.parse_args()

    if len(args.halves) not in (0, 2):
        parser.error(f"expected no file or two, got {len(args.halves)}")

    return args


def main() -> None:
    """Pre-train, learn online, report."""
    args = parse_arguments()
    study = from_files(*args.halves) if args.halves else simulated()

    torch.manual_seed(0)
    network = YourNetwork()
    pretrain(network, 2 * args.steps)
    before = denoise(network, study)

    # Score, select, retrain: the paper's method on the study itself.
    example = study.first[None, :1, :SIZE, :SIZE]
    scores = tgd.score_kernels(network, example)
    masks = tgd.select(scores, fraction=args.fraction)
    with tgd.TGD(network, masks) as layer:
        learn_online(network, study, layer, args.steps)
        kept = layer.unchanged()

    counts = layer.counts()
    images = {
        "measured": Images(study.first, study.second),
        "before": before,
        "after": denoise(network, study),
    }
    panels = {title: image.mean for title, image in images.items()}
    if study.truth is not None:
        panels["truth"] = study.truth

    errors = [f"{title} {rmse(image, study):.4f}" for title, image in images.items()]
    compared_with = "the truth" if study.truth is not None else "the other half"
    print(f"RMSE to {compared_with}: {', '.join(errors)}")
    print(f"kernels retrained: {counts['kernels_retrained']} of {counts['kernels_total']}")
    print(f"useful kernels, biases and statistics have the same bits: {kept}")

    draw(args.out, panels)
    print(f"images: {args.out}")


if __name__ == "__main__":
    main()
