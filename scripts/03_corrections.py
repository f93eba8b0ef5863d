#!/usr/bin/env python
"""Sensitivity image and additive (scatter and randoms) term of one study, which all its
reconstructions share.
"""

from pathlib import Path

import numpy as np

from tgdpet.cli import arguments
from tgdpet.io import nifti
from tgdpet.io.files import atomic
from tgdpet.listmode import study_folder
from tgdpet.listmode.background import Background
from tgdpet.recon import additive_term, sensitivity
from tgdpet.recon.projector_cpu import Projector
from tgdpet.runtime.progress import Progress


def main() -> None:
    """Parse the command line, compute, write beside the list mode."""
    parser = arguments.parser(__doc__)
    parser.add_argument("--listmode", type=Path, required=True, help="the study's list-mode folder")
    parser.add_argument(
        "--cache",
        type=Path,
        help="folder of sensitivity images made before, by geometry and attenuation",
    )
    parser.add_argument("--threads", type=int, default=1, help="threads to use")
    parser.add_argument(
        "--out-sensitivity", type=Path, required=True, help="NIfTI to write, counts / (Bq/mL s)"
    )
    parser.add_argument(
        "--out-additive", type=Path, required=True, help="array to write, Bq/mL mm for each event"
    )
    args = parser.parse_args()
    study = study_folder.read(args.listmode)
    projector = Projector(study.scanner, study.grid, args.threads)
    with Progress(
        sensitivity.work(study.scanner), f"sensitivity {study.meta['study']}", "pairs"
    ) as bar:
        image = sensitivity.cached(projector, study.mu_per_cm, args.cache, bar.update)
    nifti.write_plain(args.out_sensitivity, image, study.affine)
    noise, given = Background(**study.meta["background"]), study_folder.read_background(study)
    with Progress(len(study.events), f"background {study.meta['study']}", "events") as bar:
        additive = additive_term.additive(
            projector, study.events, study.mu_per_cm, noise, given, bar.update
        )
    with atomic(args.out_additive) as temporary, open(temporary, "wb") as file:
        np.save(file, additive)


if __name__ == "__main__":
    arguments.run(main)
