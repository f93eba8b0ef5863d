"""`tgdpet import`, and the options that choose a DICOM series."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

IMPORT = """\
Make one NIfTI image of a PET DICOM series (pip install 'tgdpet[dicom]').

IN is a folder with the series, in any order of files, alone or among others (--series). The image
is float32 in Bq/mL on a RAS+ grid in mm; OUT.json beside it says dose, weight, times and
reconstruction in BIDS-PET's words, as far as the headers do, and nothing that names the patient.
Refused, in one line: other modalities, units that are not activity, missing or doubled slices,
gantry tilt, several frames (--frame takes one), damaged files.

Example: tgdpet import dicom/ pet.nii.gz --series 4"""


def import_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tgdpet import`."""
    option = parser.add_argument
    option("image", type=Path, metavar="IN", help="folder with the DICOM series")
    option("out", type=Path, metavar="OUT", help="image to write (.nii or .nii.gz)")
    choice_arguments(parser)


def choice_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that choose a series of a folder, and a frame of it."""
    option = parser.add_argument
    option("--series", metavar="S", help="number, description or UID of the PET series, if several")
    option("--frame", type=int, metavar="N", help="frame or gate of the series, from 1, if several")


def import_series(args: argparse.Namespace) -> None:
    """Run `tgdpet import`; the output was checked before."""
    from ..dicom.read import read_series
    from ..io.nifti import write_image
    from .scans import Scan, origin

    started = time.time()
    source = read_series(args.image, args.series, args.frame)
    image = source.image
    scan = Scan(args.image, image, source)
    sidecar = {**image.sidecar, "provenance": origin([scan], [], args, "cpu", started)}
    write_image(args.out, image.data, image.affine, sidecar)

    size = " x ".join(map(str, image.data.shape))
    print(f"{args.out}: {size} voxels in Bq/mL, of {len(source.slices)} DICOM files")
