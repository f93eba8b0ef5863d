"""The paper's online learning on one noisy study, with a network of the user's own.

A study's list mode is split into two halves of equal counts. Each half is a target for the other
(Noise2Noise, Lehtinen et al. 2018), so that a network can learn from the study that it is to
denoise; TGD lets only redundant kernels move. Printed are the errors before and after and what kept
its bits; a PNG shows the images.

    pip install tgdpet            # or, from a checkout: export PYTHONPATH=scripts
    python examples/online_learning.py [HALF1.nii.gz HALF2.nii.gz] [--steps N] [--out online_learning.png]

Without files a small study is made up: a bladder and a catheter, which the network has never seen.
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
from tgdpet.io.nifti import read_plain

SIZE, SLICES, COUNTS = 64, 12, 30.0


class Study(NamedTuple):
    """Two halves (slices, Y, X), each an unbiased image of the same object; the truth where it is
    known.
    """

    first: Tensor
    second: Tensor
    truth: Tensor | None


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


def discs(n: int, generator: torch.Generator) -> Tensor:
    """Activity (n, SIZE, SIZE): a body and six organs or lesions, which is all that the network is
    trained on.
    """
    place = torch.arange(SIZE) - SIZE * (0.2 + 0.6 * torch.rand(n, 6, 2, 1, generator=generator))
    distance = (place[:, :, 0, :, None] ** 2 + place[:, :, 1, None, :] ** 2).sqrt()
    radius = 2 + 5 * torch.rand(n, 6, 1, 1, generator=generator)
    height = torch.rand(n, 6, 1, 1, generator=generator)
    return body() + (height * torch.sigmoid(radius - distance)).sum(1)


def body() -> Tensor:
    """(SIZE, SIZE), 0.5 inside."""
    y, x = torch.meshgrid(
        torch.arange(SIZE) - SIZE / 2, torch.arange(SIZE) - SIZE / 2, indexing="ij"
    )
    return 0.5 * torch.sigmoid(26 - (x**2 + 1.5 * y**2).sqrt())


def noisy(activity: Tensor, counts: float, generator: torch.Generator) -> Tensor:
    """A blurred Poisson image of the activity (n, Y, X), `counts` a pixel where the activity is
    1.
    """
    events = torch.poisson(counts * activity.clamp(min=0), generator=generator) / counts
    return functional.avg_pool2d(events[:, None], 3, 1, 1, count_include_pad=False)[:, 0]


def made_up(seed: int = 5) -> Study:
    """A study with a bladder of five times the uptake and a catheter, a thin bright line."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(SIZE) - 38.0, torch.arange(SIZE) - 32.0, indexing="ij")
    bladder = 5 * torch.sigmoid(8 - (x**2 + 1.3 * y**2).sqrt())
    catheter = 3 * torch.exp(-0.5 * ((y + 16 + 6 * torch.sin(x / 6)) / 0.9) ** 2) * (x.abs() < 20)
    truth = (body() + bladder + catheter).repeat(SLICES, 1, 1)
    smooth = functional.avg_pool2d(truth[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
    return Study(noisy(truth, COUNTS, generator), noisy(truth, COUNTS, generator), smooth)


def from_files(first: Path, second: Path) -> Study:
    """Two NIfTI images of one study on one grid (X, Y, Z), scaled so that the 99th percentile of
    the first is 1.
    """
    a, b = (np.asarray(read_plain(p)[0], dtype=np.float32) for p in (first, second))
    if a.shape != b.shape or a.ndim != 3:
        raise SystemExit(f"{second}: expected a volume like {first}, {a.shape}; got {b.shape}")
    scale = float(np.percentile(a, 99))
    halves = [torch.from_numpy(v.transpose(2, 1, 0).copy() / scale) for v in (a, b)]
    return Study(halves[0], halves[1], None)


def pretrain(network: nn.Module, steps: int) -> None:
    """Supervised training on discs: what the network knew before it met the study."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    network.train()
    for _ in range(steps):
        clean = discs(8, generator)
        target = functional.avg_pool2d(clean[:, None], 3, 1, 1, count_include_pad=False)
        optimizer.zero_grad()
        functional.mse_loss(network(noisy(clean, COUNTS, generator)[:, None]), target).backward()
        optimizer.step()


def learn_online(network: nn.Module, study: Study, layer: tgd.TGD, steps: int) -> None:
    """Noise2Noise: slices of the first half predict those of the second, and the other way
    round.
    """
    pairs = torch.cat([study.first, study.second]), torch.cat([study.second, study.first])
    generator = torch.Generator().manual_seed(2)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-3)
    network.train()
    for _ in range(steps):
        batch = torch.randint(len(pairs[0]), (8,), generator=generator)
        flip = [2, 3][: int(torch.randint(3, (), generator=generator))]
        x, y = (p[batch][:, None].flip(flip) for p in pairs)
        optimizer.zero_grad()
        functional.mse_loss(network(x), y).backward()
        layer.step(optimizer)


@torch.no_grad()
def denoised(network: nn.Module, study: Study) -> tuple[Tensor, Tensor]:
    """Each half denoised, (slices, Y, X); the study's image is their mean."""
    network.eval()
    first, second = (torch.cat([network(s[None, None])[0] for s in half]) for half in study[:2])
    return first, second


def error(parts: tuple[Tensor, Tensor], study: Study) -> float:
    """RMSE to the truth, or of each denoised half to the other half as measured."""
    if study.truth is not None:
        return float(functional.mse_loss((parts[0] + parts[1]) / 2, study.truth).sqrt())
    return float(
        functional.mse_loss(torch.cat(parts), torch.cat([study.second, study.first])).sqrt()
    )


def draw(path: Path, panels: dict[str, Tensor]) -> None:
    """The middle slice of each volume in inverse grey on one scale."""
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3 * len(panels), 3.2), layout="constrained"
    )
    top = float(torch.quantile(panels["measured"][len(panels["measured"]) // 2], 0.998))
    for axis, (title, volume) in zip(axes, panels.items(), strict=True):
        shown = axis.imshow(volume[len(volume) // 2].numpy(), cmap="gray_r", vmin=0, vmax=top)
        axis.set(title=title, xticks=[], yticks=[])
    figure.colorbar(shown, ax=axes, label="activity, relative", shrink=0.8)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Pre-train, learn online, report."""
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
    study = from_files(*args.halves) if args.halves else made_up()
    torch.manual_seed(0)
    network = YourNetwork()
    pretrain(network, 2 * args.steps)
    before = denoised(network, study)

    masks = tgd.select(
        tgd.score_kernels(network, study.first[None, :1, :SIZE, :SIZE]), fraction=args.fraction
    )
    with tgd.TGD(network, masks) as layer:
        learn_online(network, study, layer, args.steps)
        kept = layer.unchanged()

    after, counts = denoised(network, study), layer.counts()
    errors = [f"{title} {error(v, study):.4f}" for title, v in
              (("measured", study[:2]), ("before", before), ("after", after))]  # fmt: skip
    print(
        f"RMSE to {'the truth' if study.truth is not None else 'the other half'}: {', '.join(errors)}"
    )
    print(f"kernels retrained: {counts['kernels_retrained']} of {counts['kernels_total']}")
    print(f"useful kernels, biases and statistics have the same bits: {kept}")
    means = {
        t: (a + b) / 2
        for t, (a, b) in {"measured": study[:2], "before": before, "after": after}.items()
    }
    draw(args.out, means | ({"truth": study.truth} if study.truth is not None else {}))
    print(f"images: {args.out}")


if __name__ == "__main__":
    main()
