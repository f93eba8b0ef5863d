"""Slices a second that a study is denoised at; where there is a GPU, its difference to the CPU.

Run by hand: python benchmarks/denoise.py [--threads 1] [--slices 256] [--size 192] [--widths 0.25
1.0] [--repeats 3]. Medians of the repeats, transfers included, after one short call to warm up; a
GPU is used where there is one.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from tgdpet.networks.denoise import denoise
from tgdpet.networks.dncnn import DnCNN
from tgdpet.runtime import device

SCALE_BQML = 5000.0


def seconds(model: DnCNN, image: np.ndarray, place: torch.device, repeats: int) -> float:
    """Median time of `denoise`; it waits for the GPU at its end."""
    few_slices = image[:, :, :4]
    denoise(model, few_slices, SCALE_BQML, place)

    times_s = []
    for _ in range(repeats):
        start = time.perf_counter()
        denoise(model, image, SCALE_BQML, place)
        times_s.append(time.perf_counter() - start)

    return statistics.median(times_s)


def difference(model: DnCNN, image: np.ndarray, place: torch.device) -> float:
    """Largest difference between a device and the CPU, of the scale, on a few slices."""
    few_slices = image[:, :, :4]
    on_device = denoise(model, few_slices, SCALE_BQML, place)
    on_cpu = denoise(model, few_slices, SCALE_BQML, "cpu")

    return float(np.abs(on_device - on_cpu).max() / SCALE_BQML)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--slices", type=int, default=256)
    parser.add_argument("--size", type=int, default=192, help="voxels along x and y")
    parser.add_argument("--widths", type=float, nargs="+", default=[0.25, 1.0])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()

    place = device.pick(args.device, args.threads)
    print(f"{device.describe(place)}; {args.size} x {args.size} voxels, {args.slices} slices")

    shape = (args.size, args.size, args.slices)
    image = np.random.default_rng(0).gamma(2, SCALE_BQML / 2, shape).astype(np.float32)

    for width in args.widths:
        model = DnCNN(width, torch.Generator().manual_seed(0))
        taken_s = seconds(model, image, place, args.repeats)
        line = f"width {width:g}: {taken_s:8.2f} s, {args.slices / taken_s:8.2f} slices/s"

        if place.type == "cuda":
            apart = difference(model, image, place)
            line += f", {apart:.1e} of the scale apart from the CPU"

        print(line, flush=True)


if __name__ == "__main__":
    main()
