#!/usr/bin/env python
"""Make networks of a results folder those that come with the package (`tgdpet networks`)."""

from pathlib import Path

from tgdpet.cli import arguments
from tgdpet.networks import shipped, shipping


def main() -> None:
    """Parse the command line, write weights, cards and index, say what was written."""
    parser = arguments.parser(__doc__ or "")
    option = parser.add_argument
    option("--results", type=Path, required=True, help="results folder of a finished run")
    option("--networks", nargs="+", default=list(shipped.SHIPPED), metavar="NAME", help="which")
    option("--folder", type=Path, default=shipped.FOLDER, help="where the package keeps them")
    args = parser.parse_args()

    for network in shipping.ship(args.results, args.networks, args.folder):
        size = f"{network.path.stat().st_size / 1e3:.0f} kB"
        print(f"{network.path}: {size}, trained on {network.trained_on}")


if __name__ == "__main__":
    arguments.run(main)
