"""What a TGD step costs against a full fine-tuning step, when a share of every layer's kernels is
frozen.

Forward, backward and optimizer step (Adam) of the DnCNN on 32x32 patches, channels_last, all ways
in one run and interleaved: each round times every way once, in an order that moves on from round to
round. A ratio is taken within its round, against the full step (all parameters, BN with running
statistics, as TGD's default); the row "full, BN train" is the same with batch statistics. Medians
over the rounds, and the quartiles.

Run by hand: python benchmarks/tgd_step.py (about ten minutes on two cores; --widths 1 --shares 0.5
takes two).
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from tgdpet.networks import DnCNN
from tgdpet.tgd.layer import FLOWS, TGD

PATCH = 32
FIELDS = (
    "width",
    "frozen",
    "way",
    "gather",
    "median_s",
    "ratio",
    "ratio_q25",
    "ratio_q75",
    "rounds",
)
Step = Callable[[], None]


def masks_of(net: DnCNN, frozen: float, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Random masks of every convolution but the last, with that share of kernels frozen."""
    masks = {}

    for name, n_kernels in net.scored.items():
        n_frozen = round(frozen * n_kernels)
        order = torch.randperm(n_kernels, generator=generator)
        masks[name] = torch.ones(n_kernels, dtype=torch.bool)
        masks[name][order[:n_frozen]] = False

    return masks


def new_net(width: float) -> DnCNN:
    return DnCNN(width, torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)


def full_step(width: float, x: torch.Tensor, *, train: bool) -> Step:
    net = new_net(width).train()

    if not train:
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()

    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    return _step(net, x, optimizer, optimizer.step)


def tgd_step(width: float, frozen: float, x: torch.Tensor, flow: str, gather: str) -> Step:
    net = new_net(width).train()
    masks = masks_of(net, frozen, torch.Generator().manual_seed(1))
    example = torch.zeros(1, 3, 16, 16)

    tgd = TGD(net, masks, flow=flow, gather=gather, example_input=example)
    optimizer = torch.optim.Adam(tgd.parameters(), lr=1e-4)

    return _step(net, x, optimizer, lambda: tgd.step(optimizer))


def _step(net: nn.Module, x: torch.Tensor, optimizer: torch.optim.Optimizer, update: Step) -> Step:
    target = torch.zeros_like(x)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = functional.mse_loss(net(x), target)
        loss.backward()
        update()

    return step


def interleaved(ways: list[Step], rounds: int) -> np.ndarray:
    """Seconds (rounds, ways)."""
    seconds = np.zeros((rounds, len(ways)))
    order = np.arange(len(ways))

    for r in range(-1, rounds):  # the first round warms up
        for i in np.roll(order, r):
            start = time.perf_counter()
            ways[i]()
            seconds[max(r, 0), i] = time.perf_counter() - start

    return seconds


def measure(
    width: float, frozen: float, patches: int, rounds: int, gathers: list[str]
) -> list[dict[str, object]]:
    """A row a way: full steps, then TGD steps of every flow and gathering."""
    x = torch.randn(patches, 3, PATCH, PATCH, generator=torch.Generator().manual_seed(2))
    x = x.contiguous(memory_format=torch.channels_last)

    names = [("full, BN eval", ""), ("full, BN train", "")]
    ways = [full_step(width, x, train=False), full_step(width, x, train=True)]

    for flow in FLOWS:
        for gather in gathers:
            names.append((flow, gather))
            ways.append(tgd_step(width, frozen, x, flow, gather))

    seconds = interleaved(ways, rounds)
    medians = np.median(seconds, axis=0)
    ratios = seconds / seconds[:, :1]
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75], axis=0)

    rows: list[dict[str, object]] = []
    for i, (way, gather) in enumerate(names):
        rows.append(
            {
                "width": width,
                "frozen": frozen,
                "way": way,
                "gather": gather,
                "median_s": f"{medians[i]:.4f}",
                "ratio": f"{middle[i]:.3f}",
                "ratio_q25": f"{low[i]:.3f}",
                "ratio_q75": f"{high[i]:.3f}",
                "rounds": rounds,
            }
        )

    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widths", type=float, nargs="+", default=[1.0, 0.5, 0.25])
    parser.add_argument(
        "--shares", type=float, nargs="+", default=[0.25, 0.5, 0.75, 0.95], help="kernels frozen"
    )
    parser.add_argument("--gathers", nargs="+", default=["auto", "always", "never"])
    parser.add_argument("--patches", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    patches = f"{args.patches} patches of {PATCH}x{PATCH}"
    print(f"torch {torch.__version__}, {args.threads} threads, {patches}", file=sys.stderr)

    table = csv.DictWriter(sys.stdout, FIELDS, delimiter="\t", lineterminator="\n")
    table.writeheader()

    for width in args.widths:
        for frozen in args.shares:
            for row in measure(width, frozen, args.patches, args.rounds, args.gathers):
                table.writerow(row)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
