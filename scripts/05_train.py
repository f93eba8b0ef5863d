#!/usr/bin/env python
"""Train a denoising network from scratch on a 2.5D training set."""

import time
from pathlib import Path

from tgdpet import cli
from tgdpet.config import Training


def main() -> None:
    """Parse the command line, train, write weights, log and sidecar."""
    parser = cli.parser(__doc__ or "")
    parser.add_argument("--dataset", type=Path, required=True, help="index.tsv of the training set")
    parser.add_argument("--name", required=True, help="the network's name")
    parser.add_argument("--width", type=float, default=1.0, help="multiplies the paper's channel numbers")
    parser.add_argument("--seed", type=int, default=0, help="the run's seed")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to train")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--checkpoint", type=Path, help="where to keep the state of an unfinished run")
    parser.add_argument("--out", type=Path, required=True, help="weights to write (.safetensors)")
    cli.add_options(parser, Training)
    args = parser.parse_args()
    settings = cli.from_options(args, Training)

    from tgdpet import stages

    job = stages.Job(
        args.name, args.dataset, args.out, args.seed, args.device, args.threads, args.checkpoint,
        cli.as_settings(args), time.time(),
    )  # fmt: skip
    stages.train(job, settings, args.width)


if __name__ == "__main__":
    cli.run(main)
