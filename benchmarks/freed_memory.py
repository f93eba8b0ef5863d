"""A training step on a CPU, with freed memory given back to the system, as glibc does, and kept
(`device.keep_freed`).

Run by hand: python benchmarks/freed_memory.py [--width 0.25] [--batch 16] [--rounds 5] [--threads
1]

Each way runs in a process of its own, in turn; the ratio is the median over the rounds, with
quartiles.
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

STEPS, PATCH = 30, 32


def measured(args: argparse.Namespace) -> dict[str, float]:
    """Milliseconds a step, those of the system's among them, and the largest memory in MB."""
    torch.set_num_threads(args.threads)
    if args.way == "kept" and not device.keep_freed():
        raise SystemExit(
            "freed memory cannot be kept here: not glibc, or MALLOC_... variables are set"
        )
    model = (
        DnCNN(args.width, torch.Generator().manual_seed(1))
        .to(memory_format=torch.channels_last)
        .train()
    )
    optimizer = torch.optim.Adam(model.parameters())
    noisy = torch.rand(args.batch, 3, PATCH, PATCH).contiguous(memory_format=torch.channels_last)
    for step in range(STEPS + 3):
        if step == 3:
            started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        optimizer.zero_grad()
        functional.mse_loss(model(noisy), 0.9 * noisy).backward()
        optimizer.step()
    after = resource.getrusage(resource.RUSAGE_SELF)
    a_step = 1e3 / STEPS
    return {
        "ms": a_step * (time.perf_counter() - started),
        "of the system": a_step * (after.ru_stime - before.ru_stime),
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
    parser.add_argument("--way", choices=("given back", "kept"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        print(json.dumps(measured(args)))
        return
    rounds = []
    for _ in range(args.rounds):
        commands = {
            way: [sys.executable, *sys.argv, "--way", way] for way in ("given back", "kept")
        }
        rounds.append(
            {way: json.loads(subprocess.check_output(command)) for way, command in commands.items()}
        )
    for way in rounds[0]:
        numbers = (
            f"{k} {statistics.median(r[way][k] for r in rounds):.0f}" for k in rounds[0][way]
        )
        print(f"{way:<12}" + ", ".join(numbers))
    low, middle, high = statistics.quantiles(
        [r["kept"]["ms"] / r["given back"]["ms"] for r in rounds], n=4
    )
    print(f"kept / given back: {middle:.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
