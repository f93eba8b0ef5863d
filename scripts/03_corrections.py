#!/usr/bin/env python
"""Sensitivity image and additive (scatter and randoms) term of one study, which all its
reconstructions share.
"""

from pathlib import Path

from tgdpet.cli import arguments
from tgdpet.io import nifti
from tgdpet.io.arrays import write_array
from tgdpet.listmode import study_folder
from tgdpet.listmode.background import Background
from tgdpet.recon import additive_term, sensitivity
from tgdpet.recon.projector_cpu import Projector
from tgdpet.runtime.progress import Progress

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
    name = study.meta["study"]
    projector = Projector(study.scanner, study.grid, args.threads)

    with Progress(sensitivity.work(study.scanner), f"sensitivity {name}", "pairs") as bar:
        image = sensitivity.cached(projector, study.mu_per_cm, args.cache, bar.update)
    nifti.write_plain(args.out_sensitivity, image, study.affine)

    noise = Background(**study.meta["background"])
    given = study_folder.read_background(study)
    with Progress(len(study.events), f"background {name}", "events") as bar:
        additive = additive_term.additive(
            projector, study.events, study.mu_per_cm, noise, given, bar.update
        )
    write_array(args.out_additive, additive)

    read = study_folder.files_read(args.listmode, "background.npy")
    if args.cache is not None:
        read.append(args.cache / f"sensitivity-{sensitivity.key(projector, study.mu_per_cm)}.npy")
    return read


if __name__ == "__main__":
    arguments.run(main)
