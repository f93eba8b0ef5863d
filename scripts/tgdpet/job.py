"""What every training script is told: names, files, seed, device; no torch in here."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import cli
from .config import Compute


@dataclass(frozen=True)
class Job:
    """A training job: name, data, where to write, seed, device, and the command line for the sidecar."""

    name: str
    dataset: Path
    out: Path
    seed: int
    device: str
    threads: int
    checkpoint: Path | None
    compute: Compute = field(default_factory=Compute)
    options: Mapping[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.time)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command-line options of a job."""
    parser.add_argument("--dataset", type=Path, required=True, help="index.tsv of the training set")
    parser.add_argument("--name", required=True, help="the new network's name")
    parser.add_argument("--seed", type=int, default=0, help="the run's seed")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to train")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--checkpoint", type=Path, help="where to keep the state of an unfinished run")
    parser.add_argument("--out", type=Path, required=True, help="weights to write (.safetensors)")
    cli.add_options(parser, Compute)


def from_options(args: argparse.Namespace) -> Job:
    """The job that the parsed options describe."""
    return Job(
        args.name, args.dataset, args.out, args.seed, args.device, args.threads, args.checkpoint,
        cli.from_options(args, Compute), cli.as_settings(args),
    )  # fmt: skip
