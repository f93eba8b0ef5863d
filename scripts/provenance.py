#!/usr/bin/env python
"""Print what a result was made from, as a tree: files, hosts, jobs, devices, seeds, versions; from
sidecars alone.
"""

from pathlib import Path

from tgdpet.cli import arguments
from tgdpet.io import provenance

FILE = "figure, table, network or image; its path as the run wrote it"


def main() -> None:
    """Parse the command line, print the tree."""
    parser = arguments.parser(__doc__ or "")
    parser.add_argument("file", type=Path, help=FILE)
    parser.add_argument("--depth", type=int, help="levels to show (default: all)")
    args = parser.parse_args()

    for line in provenance.tree(args.file, args.depth):
        print(line)


if __name__ == "__main__":
    arguments.run(main)
