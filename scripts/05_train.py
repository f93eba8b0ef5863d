#!/usr/bin/env python
"""Train a denoising network from scratch on a 2.5D training set."""

from tgdpet.cli import arguments, training_options
from tgdpet.config.sections import Training

WIDTH = "multiplies the paper's channel numbers"


def main() -> None:
    """Parse the command line, train, write weights, log and sidecar."""
    parser = arguments.parser(__doc__ or "")
    training_options.add_options(parser)
    parser.add_argument("--width", type=float, default=1.0, help=WIDTH)
    arguments.add_options(parser, Training)
    args = parser.parse_args()

    settings = arguments.from_options(args, Training)

    from tgdpet.training import jobs

    jobs.train(training_options.from_options(args), settings, args.width)


if __name__ == "__main__":
    arguments.run(main)
