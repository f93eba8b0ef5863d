#!/usr/bin/env python
"""Train a denoising network from scratch on a 2.5D training set."""

from tgdpet import cli, job
from tgdpet.config import Training


def main() -> None:
    """Parse the command line, train, write weights, log and sidecar."""
    parser = cli.parser(__doc__ or "")
    job.add_options(parser)
    parser.add_argument("--width", type=float, default=1.0, help="multiplies the paper's channel numbers")
    cli.add_options(parser, Training)
    args = parser.parse_args()
    settings = cli.from_options(args, Training)

    from tgdpet import stages

    stages.train(job.from_options(args), settings, args.width)


if __name__ == "__main__":
    cli.run(main)
