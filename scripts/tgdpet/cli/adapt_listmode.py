"""The halves of a list mode, and all of it, reconstructed for `tgdpet adapt --petsird`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..config.roles import HALVES, Sample
from ..config.sections import Grid, ReconProtocol
from ..io.files import write_checked_json
from ..listmode import study_folder
from ..petsird.read import import_study
from ..petsird.side_files import side_files
from ..recon.study_images import write_corrections, write_images
from ..runtime.progress import Progress
from . import arguments

STUDY = "scan"
WHOLE = Sample("whole", 1.0)
PROTOCOL = "adapt"  # its name in the files, as it is given option by option


def reconstruct_halves(args: argparse.Namespace, work: Path) -> list[Path]:
    """Import `args.petsird`, split it and reconstruct; the paths of both halves and of all.

    What an interrupted run of the same command left is made anew. Raises ValueError naming the file
    for list mode that cannot be read.
    """
    grid = arguments.from_options(args, Grid)
    protocol = arguments.from_options(args, ReconProtocol)
    folder = work / "listmode"

    with Progress(100, "import list mode", "%") as bar:
        meta = import_study(
            args.petsird, folder, STUDY, grid, on_progress=lambda share: bar.update(100 * share)
        )
    write_checked_json(folder / "listmode.json", meta)

    study = study_folder.read_study(folder)
    sensitivity = work / "sensitivity.nii.gz"
    write_corrections(study, args.threads, None, sensitivity, folder / "additive.npy")

    halves = [Sample(name, 1.0, part, len(HALVES)) for part, name in enumerate(HALVES)]
    return write_images(
        study,
        [*halves, WHOLE],
        args.seed,
        sensitivity,
        protocol,
        PROTOCOL,
        work / "recon",
        threads=args.threads,
        device="cpu",
        inputs=[args.petsird, *side_files(args.petsird)],
        settings=arguments.as_settings(args),
    )
