#!/usr/bin/env python
"""Simulate one study: an FDG phantom on a TOF scanner, to list mode on disk."""

import time
from pathlib import Path

from tgdpet.cli import arguments
from tgdpet.config.roles import ROLES
from tgdpet.config.sections import Grid, ScannerChoice, Simulation
from tgdpet.config.studies import Study, parse_lesions
from tgdpet.io.files import sidecar, write_checked_json
from tgdpet.runtime.progress import Progress
from tgdpet.simulation.study import simulate_study

SECTIONS = (Grid, ScannerChoice, Simulation)
SOURCES = ("analytic", "anatomy")
ROLE = "decides lesions, bladder and catheter"
PATH = "folder of labels.nii.gz (and ct.nii.gz, labels.tsv), or a label map: anatomy"
LESIONS = "organ:diameter_mm:contrast,... in place of the role's: anatomy"


def main() -> None:
    """Parse the command line, simulate, write the study's folder."""
    started = time.time()

    parser = arguments.parser(__doc__)
    option = parser.add_argument
    option("--study", required=True, help="name of the study")
    option("--role", required=True, choices=sorted(ROLES), help=ROLE)
    option("--bmi", type=float, required=True, help="body mass index, kg/m2")
    option("--study-seed", type=int, required=True, help="the study's own seed")
    option("--source", default="analytic", choices=SOURCES, help="where the body is from")
    option("--path", help=PATH)
    option("--lesions", default="", help=LESIONS)
    option("--seed", type=int, default=0, help="the run's seed")
    option("--threads", type=int, default=1, help="threads to use")
    option("--out-dir", type=Path, required=True, help="folder to write")
    for section in SECTIONS:
        arguments.add_options(parser, section)
    args = parser.parse_args()

    if (args.source == "anatomy") != bool(args.path):
        belongs = "--path: belongs to --source anatomy, which needs it"
        raise ValueError(f"{belongs}; got {args.path!r} with {args.source}")

    lesions = parse_lesions(args.lesions, "--lesions")
    study = Study(args.study, args.role, args.source, args.bmi, args.study_seed, args.path, lesions)
    parts = tuple(arguments.from_options(args, section) for section in SECTIONS)

    with Progress(100, f"simulate {args.study}", "%") as bar:
        meta = simulate_study(
            args.out_dir, study, args.seed, parts, args.threads, lambda part: bar.update(100 * part)
        )

    provenance = sidecar([], arguments.as_settings(args), args.seed, "cpu", started)
    write_checked_json(args.out_dir / "listmode.json", {**meta, "provenance": provenance})


if __name__ == "__main__":
    arguments.run(main)
