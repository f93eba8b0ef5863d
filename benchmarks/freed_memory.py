"""A training step on a CPU, with freed memory given back to the system or kept.

Run by hand: python benchmarks/freed_memory.py [--width 0.25] [--batch 16] [--rounds 5]
    [--threads 1]

glibc gives it back; `device.keep_freed` keeps it. Each way runs in a process of its own, in turn;
the ratio is the median over the rounds, with quartiles.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from tgdpet.networks.dncnn import DnCNN
from tgdpet.runtime import device

STEPS = 30
WARM_STEPS = 3
PATCH = 32
WAYS = ("given back", "kept")


def measured(args: argparse.Namespace) -> dict[str, float]:
    """Milliseconds a step, those of the system's among them, and the largest memory in MB."""
    torch.set_num_threads(args.threads)
    if args.way == "kept" and not device.keep_freed():
        raise SystemExit(
            "freed memory cannot be kept here: not glibc, or MALLOC_... variables are set"
        )

    model = DnCNN(args.width, torch.Generator().manual_seed(1))
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(model.parameters())
    noisy = torch.rand(args.batch, 3, PATCH, PATCH).contiguous(memory_format=torch.channels_last)

    for step in range(WARM_STEPS + STEPS):
        if step == WARM_STEPS:
            started = time.perf_counter()
            before = resource.getrusage(resource.RUSAGE_SELF)
        optimizer.zero_grad()
        functional.mse_loss(model(noisy), 0.9 * noisy).backward()
        optimizer.step()

    after = resource.getrusage(resource.RUSAGE_SELF)
    ms_per_step = 1e3 / STEPS
    return {
        "ms": ms_per_step * (time.perf_counter() - started),
        "of the system": ms_per_step * (after.ru_stime - before.ru_stime),
        "MB": after.ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=float, default=0.25, help="of the network")
    parser.add_argument("--batch", type=int, default=16, help="patches a step")
    parser.add_argument("--rounds", type=int, default=5, help="of both ways")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()

    if args.way:
        print(json.dumps(measured(args)))
        return

    rounds = []
    for _ in range(args.rounds):
        numbers = {}
        for way in WAYS:
            command = [sys.executable, *sys.argv, "--way", way]
            numbers[way] = json.loads(subprocess.check_output(command))
        rounds.append(numbers)

    for way in WAYS:
        medians = {k: statistics.median(r[way][k] for r in rounds) for k in rounds[0][way]}
        print(f"{way:<12}" + ", ".join(f"{k} {value:.0f}" for k, value in medians.items()))

    ratios = [r["kept"]["ms"] / r["given back"]["ms"] for r in rounds]
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(f"kept / given back: {middle:.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
