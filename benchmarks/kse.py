"""Seconds that KSE takes for one layer; where there is a GPU, its largest difference to the CPU.

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
    times_s = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        kse.score(weight).cpu()
        times_s.append(time.perf_counter() - start)

    return statistics.median(times_s[1:])


def line(shape: tuple[int, ...], threads: int, repeats: int) -> str:
    """What one layer's weight of this shape takes."""
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    name = "x".join(map(str, shape))
    on_cpu_s = seconds(weight, repeats)
    measured = f"{name:>16}: {on_cpu_s:7.3f} s on {threads} CPU thread(s)"

    if not torch.cuda.is_available():
        return measured

    on_gpu = weight.cuda()
    difference = kse.score(weight) - kse.score(on_gpu).cpu()
    apart = float(difference.abs().max())
    on_gpu_s = seconds(on_gpu, repeats)

    return f"{measured}, {on_gpu_s:7.4f} s on the GPU, {apart:.1e} apart"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    for shape in SHAPES:
        print(line(shape, args.threads, args.repeats), flush=True)


if __name__ == "__main__":
    main()
