#!/usr/bin/env python
"""Sensitivity image and additive (scatter and randoms) term of one study, which all its
reconstructions share.
"""

from pathlib import Path

from tgdpet.cli import arguments
from tgdpet.listmode import study_folder
from tgdpet.recon import study_images

CACHE = "folder of sensitivity images made before, by geometry and attenuation"
SENSITIVITY = "NIfTI to write, counts / (Bq/mL s)"
ADDITIVE = "array to write, Bq/mL mm for each event"


def main() -> list[Path]:
    """Parse the command line, compute, write beside the list mode."""
    parser = arguments.parser(__doc__)
    option = parser.add_argument
    option("--listmode", type=Path, required=True, help="the study's list-mode folder")
    option("--cache", type=Path, help=CACHE)
    option("--threads", type=int, default=1, help="threads to use")
    option("--out-sensitivity", type=Path, required=True, help=SENSITIVITY)
    option("--out-additive", type=Path, required=True, help=ADDITIVE)
    args = parser.parse_args()

    study = study_folder.read_study(args.listmode)
    cached = study_images.write_corrections(
        study, args.threads, args.cache, args.out_sensitivity, args.out_additive
    )

    return [*study_folder.files_read(args.listmode, "background.npy"), *cached]


if __name__ == "__main__":
    arguments.run(main)
