#!/usr/bin/env python
"""Simulate one study: an FDG phantom on a TOF scanner, to list mode on disk."""

import time
from pathlib import Path

from tgdpet.cli import arguments
from tgdpet.config.roles import ROLES
from tgdpet.config.sections import Grid, ScannerChoice, Simulation
from tgdpet.config.studies import Study, parse_lesions
from tgdpet.io.files import sidecar, write_json
from tgdpet.runtime.progress import Progress
from tgdpet.simulation import study as acquisition


def main() -> None:
    """Parse the command line, simulate, write the study's folder."""
    started = time.time()
    parser = arguments.parser(__doc__)
    parser.add_argument("--study", required=True, help="name of the study")
    parser.add_argument(
        "--role", required=True, choices=sorted(ROLES), help="decides lesions, bladder and catheter"
    )
    parser.add_argument("--bmi", type=float, required=True, help="body mass index, kg/m2")
    parser.add_argument("--study-seed", type=int, required=True, help="the study's own seed")
    parser.add_argument(
        "--source",
        default="analytic",
        choices=("analytic", "anatomy"),
        help="where the body is from",
    )
    parser.add_argument(
        "--path",
        help="folder of labels.nii.gz (and ct.nii.gz, labels.tsv), or a label map: anatomy",
    )
    parser.add_argument(
        "--lesions",
        default="",
        help="organ:diameter_mm:contrast,... in place of the role's: anatomy",
    )
    parser.add_argument("--seed", type=int, default=0, help="the run's seed")
    parser.add_argument("--threads", type=int, default=1, help="threads to use")
    parser.add_argument("--out-dir", type=Path, required=True, help="folder to write")
    for section in (Grid, ScannerChoice, Simulation):
        arguments.add_options(parser, section)
    args = parser.parse_args()
    if (args.source == "anatomy") != bool(args.path):
        raise ValueError(
            f"--path: belongs to --source anatomy, which needs it; got {args.path!r} with {args.source}"
        )
    lesions = parse_lesions(args.lesions, "--lesions")
    study = Study(args.study, args.role, args.source, args.bmi, args.study_seed, args.path, lesions)
    parts = tuple(
        arguments.from_options(args, section) for section in (Grid, ScannerChoice, Simulation)
    )
    with Progress(100, f"simulate {args.study}", "%") as bar:
        meta = acquisition.simulate_study(
            args.out_dir,
            study,
            args.seed,
            parts,
            args.threads,
            lambda share: bar.update(100 * share),
        )
    provenance = sidecar([], arguments.as_settings(args), args.seed, "cpu", started)
    write_json(args.out_dir / "listmode.json", {**meta, "provenance": provenance})


if __name__ == "__main__":
    arguments.run(main)
