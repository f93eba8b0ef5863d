#!/usr/bin/env python
"""Read one study from a PETSIRD file and the files beside it, to list mode on disk."""

import argparse
import sys
import time
from pathlib import Path

from tgdpet import cli
from tgdpet.config import Grid
from tgdpet.exchange.read import import_study
from tgdpet.exchange.side import side_files
from tgdpet.files import sidecar, write_json
from tgdpet.progress import Progress


def main() -> None:
    """Parse the command line, read the file, write the study's folder, say what was not used."""
    started = time.time()
    parser = cli.parser(__doc__)
    parser.add_argument("--petsird", type=Path, required=True, help="X.petsird; X.json, X.mu.nii.gz, ... beside it")
    parser.add_argument("--study", required=True, help="name of the study")
    parser.add_argument("--role", default="petsird", help="the study's role")
    parser.add_argument(
        "--attenuation", action=argparse.BooleanOptionalAction, default=True, help="correct for X.mu.nii.gz (1/cm)"
    )
    parser.add_argument("--out-dir", type=Path, required=True, help="folder to write")
    cli.add_options(parser, Grid)
    args = parser.parse_args()
    grid = cli.from_options(args, Grid)
    with Progress(100, f"import {args.study}", "%") as bar:
        meta = import_study(
            args.petsird, args.out_dir, args.study, grid, args.attenuation, args.role,
            lambda share: bar.update(100 * share),
        )  # fmt: skip
    for what, count in meta["not_used"].items():
        print(f"{args.petsird}: not used: {count} {what}", file=sys.stderr)
    provenance = sidecar([args.petsird, *side_files(args.petsird)], cli.as_settings(args), None, "cpu", started)
    write_json(args.out_dir / "listmode.json", {**meta, "provenance": provenance})


if __name__ == "__main__":
    cli.run(main)
