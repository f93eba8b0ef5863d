"""The command-line options that every training script takes; no torch in here."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..config.sections import Compute
from ..io.contents import NETWORK, Text, check
from ..training.job import Job
from . import arguments

NOT_OF_TRAINING = ("reconstruct",)


def add_job_options(parser: argparse.ArgumentParser) -> None:
    """The command-line options of a job."""
    parser.add_argument("--dataset", type=Path, required=True, help="index.tsv of the training set")
    parser.add_argument("--name", required=True, help="the new network's name")
    parser.add_argument("--seed", type=int, default=0, help="the run's seed")
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to train"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument(
        "--checkpoint", type=Path, help="where to keep the state of an unfinished run"
    )
    parser.add_argument("--out", type=Path, required=True, help="weights to write (.safetensors)")

    arguments.add_options(parser, Compute, skip=NOT_OF_TRAINING)


def job_from_options(args: argparse.Namespace) -> Job:
    """The job that the parsed options describe; ValueError for a name that no file could have."""
    check(args.name, Text(NETWORK), "--name")

    return Job(
        name=args.name,
        dataset=args.dataset,
        weights=args.out,
        seed=args.seed,
        device=args.device,
        threads=args.threads,
        checkpoint=args.checkpoint,
        compute=arguments.from_options(args, Compute, skip=NOT_OF_TRAINING),
        options=arguments.as_settings(args),
    )
