#!/usr/bin/env python
"""Compile the numba kernels once and keep them in the on-disk cache, so that no later job waits."""

from pathlib import Path

from tgdpet.cli import arguments
from tgdpet.io.files import write_text
from tgdpet.workflow import compile_kernels


def main() -> None:
    """Parse the command line, compile, write the marker."""
    parser = arguments.parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="marker file to write when done")
    args = parser.parse_args()

    names = compile_kernels.compile_all()
    write_text(args.out, "\n".join(names) + "\n")


if __name__ == "__main__":
    arguments.run(main)
