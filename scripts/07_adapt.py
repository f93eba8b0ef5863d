#!/usr/bin/env python
"""Adapt a trained network to new data: fine-tune its last blocks, or retrain its redundant kernels (TGD)."""

from pathlib import Path

from tgdpet import cli, job
from tgdpet.config import NetworkEntry, Training, load_section


def main() -> None:
    """Parse the command line, adapt, write weights, log and sidecar."""
    parser = cli.parser(__doc__ or "")
    job.add_options(parser)
    parser.add_argument("--base", type=Path, required=True, help="network to start from (.safetensors)")
    parser.add_argument("--scores", type=Path, help="KSE table of the base network (tgd)")
    parser.add_argument("--method", required=True, choices=("finetune", "tgd"), help="what is retrained")
    parser.add_argument("--phi", type=float, default=0.3, help="retrain kernels with a KSE below this (tgd)")
    parser.add_argument("--fraction", type=float, help="retrain this share of the kernels instead (tgd)")
    parser.add_argument("--flow", default="parameter", choices=("parameter", "layer"), help="how the mask acts (tgd)")
    parser.add_argument(
        "--batchnorm", default="eval", choices=("eval", "per_channel", "train"), help="batch statistics"
    )
    parser.add_argument("--blocks", type=int, default=3, help="blocks to retrain, from the end (finetune)")
    cli.add_options(parser, Training)
    args = parser.parse_args()
    asked = ("method", "phi", "fraction", "flow", "batchnorm", "blocks")
    values = {key: getattr(args, key) for key in asked}
    entry = load_section(NetworkEntry, {"data": "adapt", "base": "base", **values}, "command line")
    settings = cli.from_options(args, Training)

    from tgdpet import stages

    stages.adapt(job.from_options(args), settings, entry, args.base, args.scores)


if __name__ == "__main__":
    cli.run(main)
