#!/usr/bin/env python
"""Read one study from a PETSIRD file and the files beside it, to list mode on disk."""

import argparse
import sys
import time
from pathlib import Path

from tgdpet.cli import arguments
from tgdpet.config.sections import Grid
from tgdpet.io.files import sidecar, write_checked_json
from tgdpet.petsird.read import import_study
from tgdpet.petsird.side_files import side_files
from tgdpet.runtime.progress import Progress

PETSIRD = "X.petsird; X.json, X.mu.nii.gz, ... beside it"
TRACER = "its tracer, where neither the file nor X.json says it"
SWITCH = argparse.BooleanOptionalAction


def main() -> None:
    """Parse the command line, read the file, write the study's folder, say what was not used."""
    started = time.time()

    parser = arguments.parser(__doc__)
    option = parser.add_argument
    option("--petsird", type=Path, required=True, help=PETSIRD)
    option("--study", required=True, help="name of the study")
    option("--role", default="petsird", help="the study's role")
    option("--tracer", help=TRACER)
    option("--attenuation", action=SWITCH, default=True, help="correct for X.mu.nii.gz (1/cm)")
    option("--out-dir", type=Path, required=True, help="folder to write")
    arguments.add_options(parser, Grid)
    args = parser.parse_args()

    grid = arguments.from_options(args, Grid)
    with Progress(100, f"import {args.study}", "%") as bar:
        meta = import_study(
            args.petsird,
            args.out_dir,
            args.study,
            grid,
            args.attenuation,
            args.role,
            args.tracer,
            lambda part: bar.update(100 * part),
        )

    for what, count in meta["not_used"].items():
        print(f"{args.petsird}: not used: {count} {what}", file=sys.stderr)

    inputs = [args.petsird, *side_files(args.petsird)]
    provenance = sidecar(inputs, arguments.as_settings(args), None, "cpu", started)
    write_checked_json(args.out_dir / "listmode.json", {**meta, "provenance": provenance})


if __name__ == "__main__":
    arguments.run(main)
