#!/usr/bin/env python
"""Add a spherical lesion to a study's list mode: its trues, simulated through the study's scanner
and attenuation.
"""

import time
from pathlib import Path

from tgdpet.cli import arguments
from tgdpet.io.files import sidecar, write_checked_json
from tgdpet.runtime.progress import Progress
from tgdpet.simulation import lesion, lesion_study

AXES = ("X", "Y", "Z")
PSF = "blur, crystals included; default: from the detectors' size"


def main() -> None:
    """Parse the command line, insert, write the new study's folder."""
    started = time.time()

    parser = arguments.parser(__doc__)
    option = parser.add_argument
    option("--listmode", type=Path, required=True, help="the study's list-mode folder")
    option("--out-dir", type=Path, required=True, help="folder of the study with the lesion")
    option("--centre-mm", type=float, nargs=3, required=True, metavar=AXES, help="RAS mm")
    option("--diameter-mm", type=float, required=True, help="the sphere's diameter, mm")
    uptake = parser.add_mutually_exclusive_group(required=True).add_argument
    uptake("--bqml", type=float, help="activity added at scan start, Bq/mL")
    uptake("--suv", type=float, help="the same as SUV (needs dose and weight of the study)")
    option("--psf-fwhm-mm", type=float, help=PSF)
    option("--seed", type=int, default=0, help="seed of the counts")
    option("--threads", type=int, default=1, help="threads to use")
    args = parser.parse_args()

    x, y, z = args.centre_mm
    bqml = lesion_study.bqml_of_suv(args.listmode, args.suv) if args.bqml is None else args.bqml
    psf_mm = args.psf_fwhm_mm
    if psf_mm is None:
        psf_mm = lesion_study.default_psf_mm(args.listmode)
    sphere = lesion.Sphere((x, y, z), args.diameter_mm, bqml, psf_mm)

    with Progress(100, "insert lesion", "%") as bar:
        meta = lesion_study.insert(
            args.listmode,
            args.out_dir,
            sphere,
            args.seed,
            args.threads,
            lambda part: bar.update(100 * part),
        )

    inputs = [args.listmode / "listmode.json"]
    provenance = sidecar(inputs, arguments.as_settings(args), args.seed, "cpu", started)
    write_checked_json(args.out_dir / "listmode.json", {**meta, "provenance": provenance})


if __name__ == "__main__":
    arguments.run(main)
