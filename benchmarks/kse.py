"""Seconds that KSE takes for one layer, and the largest difference between CPU and GPU where there
is one.

Run by hand: python benchmarks/kse.py [--threads 2] [--repeats 5]. float64 throughout; medians of
the repeats.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from tgdpet.tgd import kse

SHAPES = [(64, 3, 3, 3), (128, 128, 3, 3), (256, 256, 3, 3), (256, 256, 3, 3, 3), (512, 512, 3, 3)]


def seconds(weight: torch.Tensor, repeats: int) -> float:
    """Median time of `kse.score`, after one call to warm up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        kse.score(weight).cpu()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for shape in SHAPES:
        weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        line = f"{'x'.join(map(str, shape)):>16}: {seconds(weight, args.repeats):7.3f} s on {args.threads} CPU thread(s)"
        if torch.cuda.is_available():
            apart = float((kse.score(weight) - kse.score(weight.cuda()).cpu()).abs().max())
            line += f", {seconds(weight.cuda(), args.repeats):7.4f} s on the GPU, {apart:.1e} apart"
        print(line, flush=True)


if __name__ == "__main__":
    main()
