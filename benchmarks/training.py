"""Pixels/s of `tgdpet.training.loop.fit` against the bare step and a plain loop over NIfTI files.

Run by hand: python benchmarks/training.py [--widths 0.25 1] [--threads 2] [--rounds 5]
    [--steps 40] [--device cpu] [--ways bare fit]

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
from collections.abc import Callable
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
from tgdpet.dataset.index import INDEX_COLUMNS
from tgdpet.dataset.patches import PatchData
from tgdpet.networks.dncnn import DnCNN
from tgdpet.runtime import device
from tgdpet.training.forward import COMPILED_STEPS, Forward
from tgdpet.training.loop import fit
from tgdpet.training.run import TrainingRun

STUDIES = 4
SHAPE = (64, 104, 104)
PATCH = 32
WARM_STEPS = 5
SCALE_BQML = 1000.0
MATMUL_SIDE = 8192
FLOP_PER_PIXEL = 7.8e6  # of a step at width 1

Way = Callable[[], float]
"""Runs the steps of a way once; the seconds a step."""


def write_data(folder: Path) -> Path:
    """Four studies of two volumes (noisy, target).

    As a data set of the pipeline, and as NIfTI files, plain and compressed.
    """
    rows = []
    for number in range(STUDIES):
        rng = np.random.default_rng(number)
        clean = np.full(SHAPE, SCALE_BQML, np.float32)
        noisy = clean * rng.gamma(5, 0.2, SHAPE).astype(np.float32)
        np.save(folder / f"{number}.npy", np.stack([noisy, clean]))

        for name, volume in (("noisy", noisy), ("clean", clean)):
            image = nib.Nifti1Image(volume.transpose(2, 1, 0), np.eye(4))
            for suffix in (".nii", ".nii.gz"):
                nib.save(image, folder / f"{name}{number}{suffix}")

        split = "val" if number == STUDIES - 1 else "train"
        for z in range(SHAPE[0]):
            rows.append((str(number), split, f"{number}.npy", "60s", 0, 1, z, 0.9))

    path = folder / "index.tsv"
    pd.DataFrame(rows, columns=INDEX_COLUMNS).to_csv(path, sep="\t", index=False)
    return path


class PlainPatches(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """A patch of three slices out of a NIfTI file, opened anew each time."""

    def __init__(self, folder: Path, suffix: str, length: int) -> None:
        self.folder = folder
        self.suffix = suffix
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, item: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng(item)
        number = rng.integers(STUDIES - 1)
        z = 1 + rng.integers(SHAPE[0] - 2)
        y = rng.integers(SHAPE[1] - PATCH + 1)
        x = rng.integers(SHAPE[2] - PATCH + 1)
        turns = rng.integers(4)
        flip = rng.integers(2)

        patches = []
        for name in ("noisy", "clean"):
            image: Any = nib.load(self.folder / f"{name}{number}{self.suffix}")
            voxels = image.dataobj[x : x + PATCH, y : y + PATCH, z - 1 : z + 2]
            patch = np.asarray(voxels, np.float32).transpose(2, 1, 0)
            patch = np.rot90(patch[..., ::-1] if flip else patch, turns, (1, 2))
            patches.append(torch.from_numpy(np.ascontiguousarray(patch)) / SCALE_BQML)

        return patches[0], patches[1]


def bare(model: nn.Module, batch: int, place: torch.device, steps: int) -> Way:
    """Seconds a step on a batch that is already there."""
    model.to(place, memory_format=torch.channels_last).train()
    precision = device.precision("auto", place)
    forward = Forward(model, place, precision, Compute(), COMPILED_STEPS)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=1e-4, weight_decay=1e-4, fused=place.type == "cuda" or None
    )
    noisy = torch.rand(batch, 3, PATCH, PATCH, device=place)
    target = torch.rand(batch, 3, PATCH, PATCH, device=place)

    def run_once() -> float:
        with device.arithmetic(precision, False):
            for step in range(WARM_STEPS + steps):
                if step == WARM_STEPS:
                    start = wait(place)
                optimizer.zero_grad(set_to_none=True)
                nn.functional.mse_loss(forward(noisy), target).backward()
                optimizer.step()

            return (wait(place) - start) / steps

    return run_once


def fitted(
    model: nn.Module,
    batch: int,
    place: torch.device,
    steps: int,
    index: Path,
    compute: Compute,
    *,
    validating: bool = False,
) -> Way:
    """Seconds a step of `fit`, with or without held-out studies."""
    model.to(place)
    data, held_out = (
        PatchData(
            index, split, scale=SCALE_BQML, patch=PATCH, air_fraction=0.05, seed=1, device=place
        )
        for split in ("train", "val")
    )
    settings = Training(
        epochs=1,
        batch=batch,
        patch=PATCH,
        patches_per_slice=batch * (WARM_STEPS + steps) / len(data),
        learning_rate=1e-4,
    )
    checkpoint = index.parent / "checkpoint.safetensors"
    run = TrainingRun("fit", index.parent / "log.csv", checkpoint, compute=compute)

    def run_once() -> float:
        times: list[float] = []
        draw = data.batch

        def timed(*args: Any, **options: Any) -> Any:
            if len(times) < WARM_STEPS + 1:
                times.append(wait(place))
            return draw(*args, **options)

        data.batch = timed  # type: ignore[method-assign]
        checkpoint.unlink(missing_ok=True)
        fit(model, data, held_out if validating else None, settings, run)
        data.batch = draw  # type: ignore[method-assign]

        return (wait(place) - times[WARM_STEPS]) / steps

    return run_once


def plain(
    model: nn.Module,
    batch: int,
    place: torch.device,
    steps: int,
    folder: Path,
    suffix: str,
    workers: int,
) -> Way:
    """Seconds a step of the loop that one would write first."""
    model.to(place).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=1e-4)

    if suffix.endswith(".gz"):  # each patch decompresses two files
        steps = max(3, steps // 8)

    def run_once() -> float:
        data = PlainPatches(folder, suffix, batch * (1 + steps))
        for step, (noisy, target) in enumerate(DataLoader(data, batch, num_workers=workers)):
            if step == 1:
                start = wait(place)
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(noisy.to(place)), target.to(place))
            loss.backward()
            optimizer.step()
            loss.item()  # for a log

        return (wait(place) - start) / steps

    return run_once


def wait(place: torch.device) -> float:
    """The time when the device has done all that it was given."""
    if place.type == "cuda":
        torch.cuda.synchronize()

    return time.perf_counter()


def matmul_flops(place: torch.device) -> float:
    """FLOP/s of a large bf16 product on the GPU."""
    a = torch.randn(MATMUL_SIDE, MATMUL_SIDE, device=place, dtype=torch.bfloat16)
    for repeat in range(25):
        if repeat == 5:
            start = wait(place)
        a @ a

    return 20 * 2 * MATMUL_SIDE**3 / (wait(place) - start)


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
        f"{device.describe(place)}; {args.rounds} rounds of {args.steps} steps "
        f"of {args.batch} patches",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as name:
        index = write_data(Path(name))
        for width in args.widths:
            ways = ways_of(width, place, index, args)
            report(width, time_in_turn(width, ways, args.rounds), place, args.batch)


def ways_of(
    width: float, place: torch.device, index: Path, args: argparse.Namespace
) -> dict[str, Way]:
    """Every way to train a network of `width` that is asked for."""

    def model() -> DnCNN:
        return DnCNN(width, torch.Generator().manual_seed(0))

    def fit_with(compute: Compute, validating: bool = False) -> Way:
        return fitted(model(), *common, index, compute, validating=validating)

    common = (args.batch, place, args.steps)
    ways = {
        "bare": bare(model(), *common),
        "fit": fit_with(Compute()),
        "fit, validating": fit_with(Compute(), validating=True),
        "fit, deterministic": fit_with(Compute(deterministic=True)),
    }
    for suffix in (".nii", ".nii.gz"):
        for workers in (0, 2):
            name = f"plain, {suffix}, {workers} workers"
            ways[name] = plain(model(), *common, index.parent, suffix, workers)

    if place.type == "cuda":  # of trainings as short as these `fit` compiles none by itself
        ways["fit, compiled"] = fit_with(Compute(compile="always"))

    try:
        device.precision("bf16", place)
        ways["fit, bf16"] = fit_with(Compute(precision="bf16"))
    except ValueError as error:
        print(f"no bf16: {error}", file=sys.stderr)

    return {name: way for name, way in ways.items() if not args.ways or name in args.ways}


def time_in_turn(width: float, ways: dict[str, Way], rounds: int) -> dict[str, list[float]]:
    """Seconds a step of each way in each round."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(1, rounds + 1):
        for name, run_once in ways.items():
            seconds = run_once()
            times[name].append(seconds)
            print(
                f"width {width:g}, round {number}, {name}: {seconds:.3f} s a step",
                file=sys.stderr,
                flush=True,
            )

    return times


def report(width: float, times: dict[str, list[float]], place: torch.device, batch: int) -> None:
    """Print a row for each way at one width."""
    pixels = batch * PATCH**2
    peak = matmul_flops(place) if place.type == "cuda" else None

    for name, values in times.items():
        median = statistics.median(values)
        row = f"width {width:g} {name:>26}: {pixels / median / 1e3:8.1f} kpixel/s"

        for reference in ("bare", "fit"):
            if reference in times:
                low, middle, high = _quartiles(times[reference], values)
                row += f", {middle:.2f} x {reference} ({low:.2f}-{high:.2f})"

        if peak is not None:
            useful = FLOP_PER_PIXEL * width**2 * pixels / median
            row += f", {100 * useful / peak:.0f} % of {peak / 1e12:.0f} TFLOP/s"

        print(row, flush=True)


def _quartiles(reference: list[float], values: list[float]) -> list[float]:
    ratios = [a / b for a, b in zip(reference, values, strict=True)]
    if len(ratios) == 1:
        return ratios * 3

    return statistics.quantiles(ratios, n=4)


if __name__ == "__main__":
    main()
