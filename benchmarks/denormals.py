"""A training step of a network with silenced kernels, with and without numbers below 1.2e-38.

Run by hand: python benchmarks/denormals.py [--width 0.25] [--rounds 5] [--threads 1]

The regulariser of eq. 4 drives the weights of kernels that are of no use towards zero. Here half of
the kernels of every layer with batch normalisation have a scale of 1e-20, so that gradients that
pass two such layers are denormal. All ways in turn; ratios are medians over the rounds, with
quartiles.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from tgdpet.networks.dncnn import DnCNN

STEPS = 4
BATCH = 16
PATCH = 32
SILENCED = 1e-20  # the scale of half of the kernels
REFERENCE = "all kernels at work"
WAYS = {  # scale, whether denormal numbers are flushed to zero
    REFERENCE: (None, False),
    "half silenced": (SILENCED, False),
    "half silenced, flushed": (SILENCED, True),
}


def silenced(width: float, scale: float | None) -> DnCNN:
    """A network with half of the kernels of every layer scaled to `scale`; None: as it was made."""
    model = DnCNN(width, torch.Generator().manual_seed(1)).to(memory_format=torch.channels_last)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and scale is not None:
            with torch.no_grad():
                module.weight[::2] = scale

    return model.train()


def seconds(model: DnCNN, flush: bool) -> float:
    """Of a step, without the first."""
    torch.set_flush_denormal(flush)
    noisy = torch.rand(BATCH, 3, PATCH, PATCH, generator=torch.Generator().manual_seed(2))
    noisy = noisy.contiguous(memory_format=torch.channels_last)

    started = 0.0
    for step in range(STEPS + 1):
        if step == 1:
            started = time.perf_counter()
        model.zero_grad()
        functional.mse_loss(model(noisy), 0.9 * noisy).backward()

    return (time.perf_counter() - started) / STEPS


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=float, default=0.25, help="of the network")
    parser.add_argument("--rounds", type=int, default=5, help="of all ways")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    models = {scale: silenced(args.width, scale) for scale in (None, SILENCED)}
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(args.rounds):
        for way, (scale, flush) in WAYS.items():
            times[way].append(seconds(models[scale], flush))

    for way, values in times.items():
        ratios = [t / t0 for t, t0 in zip(values, times[REFERENCE], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        milliseconds = 1e3 * statistics.median(values)
        print(f"{way:<24}{milliseconds:8.0f} ms a step, {middle:.2f} ({low:.2f} to {high:.2f}) x")


if __name__ == "__main__":
    main()
