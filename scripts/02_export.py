#!/usr/bin/env python
"""Write one study's list mode as a PETSIRD file, with dose, attenuation and labels in files beside
it.
"""

from pathlib import Path

from tgdpet.cli import arguments
from tgdpet.petsird.write import BLOCK_S, export_study
from tgdpet.runtime.progress import Progress


def main() -> None:
    """Parse the command line, write the files."""
    parser = arguments.parser(__doc__)
    parser.add_argument("--listmode", type=Path, required=True, help="the study's list-mode folder")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="X.petsird to write; X.json, X.mu.nii.gz, ... beside it",
    )
    parser.add_argument("--block-s", type=float, default=BLOCK_S, help="length of a time block, s")
    args = parser.parse_args()
    with Progress(100, f"export {args.out.name}", "%") as bar:
        export_study(args.listmode, args.out, args.block_s, lambda share: bar.update(100 * share))


if __name__ == "__main__":
    arguments.run(main)
