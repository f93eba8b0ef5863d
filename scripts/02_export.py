#!/usr/bin/env python
"""Write one study's list mode as a PETSIRD file, with dose, attenuation and labels in files beside
it.
"""

from pathlib import Path

from tgdpet.cli import arguments
from tgdpet.listmode.study_folder import files_read
from tgdpet.petsird.write import BLOCK_S, export_study
from tgdpet.runtime.progress import Progress

OUT = "X.petsird to write; X.json, X.mu.nii.gz, ... beside it"


def main() -> list[Path]:
    """Parse the command line, write the files."""
    parser = arguments.parser(__doc__)
    option = parser.add_argument
    option("--listmode", type=Path, required=True, help="the study's list-mode folder")
    option("--out", type=Path, required=True, help=OUT)
    option("--block-s", type=float, default=BLOCK_S, help="length of a time block, s")
    args = parser.parse_args()

    with Progress(100, f"export {args.out.name}", "%") as bar:
        export_study(args.listmode, args.out, args.block_s, lambda part: bar.update(100 * part))

    return files_read(args.listmode, "organs.nii.gz", "background.npy")


if __name__ == "__main__":
    arguments.run(main)
