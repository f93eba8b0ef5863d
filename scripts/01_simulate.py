#!/usr/bin/env python
"""Simulate one study: an FDG phantom on a TOF scanner, to list mode on disk."""

import sys
import time
from pathlib import Path

from tgdpet.cli import arguments
from tgdpet.cli.study_options import add_study_options, study_of_options
from tgdpet.config.sections import Grid, ScannerChoice, Simulation
from tgdpet.io.files import sidecar, write_checked_json
from tgdpet.runtime.progress import Progress
from tgdpet.simulation.study import simulate_study

SECTIONS = (Grid, ScannerChoice, Simulation)


def main() -> None:
    """Parse the command line, simulate, write the study's folder, say what the data lack."""
    started = time.time()

    parser = arguments.parser(__doc__)
    option = parser.add_argument
    add_study_options(parser)
    option("--seed", type=int, default=0, help="the run's seed")
    option("--threads", type=int, default=1, help="threads to use")
    option("--out-dir", type=Path, required=True, help="folder to write")
    for section in SECTIONS:
        arguments.add_options(parser, section)
    args = parser.parse_args()

    study = study_of_options(args)
    parts = tuple(arguments.from_options(args, section) for section in SECTIONS)

    with Progress(100, f"simulate {args.study}", "%") as bar:
        meta = simulate_study(
            args.out_dir, study, args.seed, parts, args.threads, lambda part: bar.update(100 * part)
        )

    for note in meta["notes"]:
        print(f"{args.study}: {note}", file=sys.stderr)

    provenance = sidecar([], arguments.as_settings(args), args.seed, "cpu", started)
    write_checked_json(args.out_dir / "listmode.json", {**meta, "provenance": provenance})


if __name__ == "__main__":
    arguments.run(main)
