#!/usr/bin/env python
"""Adapt a trained network to new data: fine-tune its last blocks, or retrain its redundant kernels
(TGD).
"""

from pathlib import Path

from tgdpet.cli import arguments, training_options
from tgdpet.config.checks import check_entry
from tgdpet.config.sections import NetworkEntry, Training

# --dataset and --base say it here, and an adapted network has no file yet.
NOT_OPTIONS = ("data", "base", "weights")


def main() -> None:
    """Parse the command line, adapt, write weights, log and sidecar."""
    parser = arguments.parser(__doc__ or "")
    option = parser.add_argument
    training_options.add_options(parser)
    option("--base", type=Path, required=True, help="network to start from (.safetensors)")
    option("--scores", type=Path, help="KSE table of the base network (tgd)")
    option("--old", type=Path, help="index.tsv of what the base was trained on")
    arguments.add_options(parser, NetworkEntry, skip=NOT_OPTIONS)
    arguments.add_options(parser, Training)
    parser.set_defaults(method="finetune")
    args = parser.parse_args()

    entry = arguments.from_options(args, NetworkEntry, skip=NOT_OPTIONS)
    check_entry("command line: ", entry)
    settings = arguments.from_options(args, Training)
    job = training_options.from_options(args)

    from tgdpet.training import jobs

    jobs.adapt(job, settings, entry, args.base, args.scores, args.old)


if __name__ == "__main__":
    arguments.run(main)
