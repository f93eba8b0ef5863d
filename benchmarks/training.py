"""Pixels/s of `tgdpet.training.loop.fit` against the bare step and against a plain loop with a
DataLoader over NIfTI files.

Run by hand: python benchmarks/training.py [--widths 0.25 1] [--threads 2] [--rounds 5] [--steps 40]
[--device cpu]
    [--ways bare fit]

bare: forward, backward and optimizer step over and over on one batch that is already there, in the
layout and precision of `fit`, on a GPU compiled. fit: all of it, with patches, turns, log,
checkpoint (once a minute) and validation; its first steps are left out of the time as they are in
the others. plain: what one would write first: contiguous float32 tensors, a Dataset that opens the
NIfTI file, cuts a patch and turns it, and a DataLoader (0 and 2 workers). All in turn, round by
round, so that a busy machine slows all alike; ratios are medians over the rounds, with quartiles.
On a GPU also the share of the card's own bf16 matmul rate, counting 7.8 MFLOP a pixel and step at
width 1.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from tgdpet.config.sections import Compute, Training
from tgdpet.dataset.patches import PatchData
from tgdpet.networks.dncnn import DnCNN
from tgdpet.runtime import device
from tgdpet.training.forward import COMPILED_STEPS, Forward
from tgdpet.training.loop import fit
from tgdpet.training.run import TrainingRun

STUDIES, SHAPE, PATCH = 4, (64, 104, 104), 32
WARM = 5


def write_data(folder: Path) -> Path:
    """Four studies of two volumes (noisy, target), as our data set and as NIfTI files, plain and
    compressed.
    """
    rows = []
    for number in range(STUDIES):
        rng = np.random.default_rng(number)
        clean = np.full(SHAPE, 1000, np.float32)
        noisy = clean * rng.gamma(5, 0.2, SHAPE).astype(np.float32)
        np.save(folder / f"{number}.npy", np.stack([noisy, clean]))
        for suffix in (".nii", ".nii.gz"):
            for name, volume in (("noisy", noisy), ("clean", clean)):
                nib.save(
                    nib.Nifti1Image(volume.transpose(2, 1, 0), np.eye(4)),
                    folder / f"{name}{number}{suffix}",
                )
        split = "val" if number == STUDIES - 1 else "train"
        rows += [
            (str(number), split, f"{number}.npy", "60s", 0, 1, z, 0.9) for z in range(SHAPE[0])
        ]
    columns = ["study", "split", "file", "sample", "input", "target", "slice", "body"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "index.tsv", sep="\t", index=False)
    return folder / "index.tsv"


class PlainPatches(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """A patch of three slices out of a NIfTI file, opened anew each time."""

    def __init__(self, folder: Path, suffix: str, length: int) -> None:
        self.folder, self.suffix, self.length = folder, suffix, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, item: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng(item)
        number, z = rng.integers(STUDIES - 1), 1 + rng.integers(SHAPE[0] - 2)
        y, x = rng.integers(SHAPE[1] - PATCH + 1), rng.integers(SHAPE[2] - PATCH + 1)
        turns, flip = rng.integers(4), rng.integers(2)
        out = []
        for name in ("noisy", "clean"):
            image: Any = nib.load(self.folder / f"{name}{number}{self.suffix}")
            part = np.asarray(
                image.dataobj[x : x + PATCH, y : y + PATCH, z - 1 : z + 2], np.float32
            ).transpose(2, 1, 0)
            part = np.rot90(part[..., ::-1] if flip else part, turns, (1, 2))
            out.append(torch.from_numpy(np.ascontiguousarray(part)) / 1000)
        return out[0], out[1]


def bare(model: nn.Module, batch: int, place: torch.device, steps: int) -> Callable[[], float]:
    """Seconds a step on a batch that is already there."""
    model.to(place, memory_format=torch.channels_last).train()
    precision = device.precision("auto", place)
    forward = Forward(model, place, precision, Compute(), COMPILED_STEPS)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=1e-4, weight_decay=1e-4, fused=place.type == "cuda" or None
    )
    noisy, target = (torch.rand(batch, 3, PATCH, PATCH, device=place) for _ in range(2))

    def go() -> float:
        with device.arithmetic(precision, False):
            for step in range(WARM + steps):
                if step == WARM:
                    start = wait(place)
                optimizer.zero_grad(set_to_none=True)
                nn.functional.mse_loss(forward(noisy), target).backward()
                optimizer.step()
            return (wait(place) - start) / steps

    return go


def ours(
    model: nn.Module,
    batch: int,
    place: torch.device,
    steps: int,
    index: Path,
    judged: bool,
    compute: Compute,
) -> Callable[[], float]:
    """Seconds a step of `fit`, with or without held-out studies."""
    model.to(place)
    parts = [
        PatchData(index, s, scale=1000.0, patch=PATCH, air_fraction=0.05, seed=1, device=place)
        for s in ("train", "val")
    ]
    per_slice = batch * (WARM + steps) / len(parts[0])
    settings = Training(
        epochs=1, batch=batch, patch=PATCH, patches_per_slice=per_slice, learning_rate=1e-4
    )

    def go() -> float:
        times: list[float] = []
        draw = parts[0].batch

        def batch_of(*args: Any, **options: Any) -> Any:
            if len(times) < WARM + 1:
                times.append(wait(place))
            return draw(*args, **options)

        parts[0].batch = batch_of  # type: ignore[method-assign]
        checkpoint = index.parent / "checkpoint.safetensors"
        checkpoint.unlink(missing_ok=True)
        run = TrainingRun("fit", index.parent / "log.csv", checkpoint, compute=compute)
        fit(model, parts[0], parts[1] if judged else None, settings, run)
        parts[0].batch = draw  # type: ignore[method-assign]
        return (wait(place) - times[WARM]) / steps

    return go


def plain(
    model: nn.Module,
    batch: int,
    place: torch.device,
    steps: int,
    folder: Path,
    suffix: str,
    workers: int,
) -> Callable[[], float]:
    """Seconds a step of the loop that one would write first."""
    model.to(place).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=1e-4)

    steps = (
        max(3, steps // 8) if suffix.endswith(".gz") else steps
    )  # each patch decompresses two files

    def batches() -> Iterator[Any]:
        data = PlainPatches(folder, suffix, batch * (1 + steps))
        yield from DataLoader(data, batch, num_workers=workers)

    def go() -> float:
        for step, (noisy, target) in enumerate(batches()):
            if step == 1:
                start = wait(place)
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(noisy.to(place)), target.to(place))
            loss.backward()
            optimizer.step()
            loss.item()  # for a log
        return (wait(place) - start) / steps

    return go


def wait(place: torch.device) -> float:
    """The time when the device has done all that it was given."""
    if place.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def matmul_flops(place: torch.device) -> float:
    """FLOP/s of a large bf16 product on the GPU."""
    a = torch.randn(8192, 8192, device=place, dtype=torch.bfloat16)
    for repeat in range(25):
        if repeat == 5:
            start = wait(place)
        a @ a
    return 20 * 2 * 8192**3 / (wait(place) - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--widths", type=float, nargs="+", default=[0.25, 1.0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--ways", nargs="+", help="only these rows")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    args = parser.parse_args()
    place = device.pick(args.device, args.threads)
    print(
        f"{device.describe(place)}; {args.rounds} rounds of {args.steps} steps of {args.batch} patches",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as name:
        folder, index = Path(name), write_data(Path(name))
        for width in args.widths:
            compare(width, place, folder, index, args)


def compare(
    width: float, place: torch.device, folder: Path, index: Path, args: argparse.Namespace
) -> None:
    """Print a row for each way at one width."""

    def model() -> DnCNN:
        return DnCNN(width, torch.Generator().manual_seed(0))

    common = (args.batch, place, args.steps)
    ways = {
        "bare": bare(model(), *common),
        "fit": ours(model(), *common, index, False, Compute()),
        "fit, validating": ours(model(), *common, index, True, Compute()),
        "fit, deterministic": ours(model(), *common, index, False, Compute(deterministic=True)),
    } | {
        f"plain, {suffix}, {workers} workers": plain(model(), *common, folder, suffix, workers)
        for suffix in (".nii", ".nii.gz") for workers in (0, 2)
    }  # fmt: skip
    if place.type == "cuda":  # of trainings as short as these `fit` compiles none by itself
        ways["fit, compiled"] = ours(model(), *common, index, False, Compute(compile="always"))
    try:
        device.precision("bf16", place)
        ways["fit, bf16"] = ours(model(), *common, index, False, Compute(precision="bf16"))
    except ValueError as error:
        print(f"no bf16: {error}", file=sys.stderr)
    ways = {name: go for name, go in ways.items() if not args.ways or name in args.ways}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(args.rounds):
        for name, go in ways.items():
            times[name].append(go())
            shown = f"width {width:g}, round {number + 1}, {name}: {times[name][-1]:.3f} s a step"
            print(shown, file=sys.stderr, flush=True)
    pixels = args.batch * PATCH**2
    peak = matmul_flops(place) if place.type == "cuda" else None
    for name, values in times.items():
        line = (
            f"width {width:g} {name:>26}: {pixels / statistics.median(values) / 1e3:8.1f} kpixel/s"
        )
        for other in [w for w in ("bare", "fit") if w in times]:
            ratios = [a / b for a, b in zip(times[other], values, strict=True)]
            quartiles = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [ratios[0]] * 3
            line += f", {quartiles[1]:.2f} x {other} ({quartiles[0]:.2f}-{quartiles[2]:.2f})"
        if peak is not None:
            useful = 7.8e6 * width**2 * pixels / statistics.median(values)
            line += f", {100 * useful / peak:.0f} % of {peak / 1e12:.0f} TFLOP/s"
        print(line, flush=True)


if __name__ == "__main__":
    main()
