"""`tgdpet import`, and the options that choose a DICOM series."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from ..config.roles import ROLES, TRAINING

FULL = "full"
IMPORT = """\
Make one NIfTI image of a PET DICOM series (pip install 'tgdpet[dicom]').

IN is a folder with the series, in any order of files, alone or among others (--series). The image
is float32 in Bq/mL on a RAS+ grid in mm; OUT.json beside it says dose, weight, times and
reconstruction in BIDS-PET's words, as far as the headers do, and nothing that names the patient.
Refused, in one line: other modalities, units that are not activity, missing or doubled slices,
gantry tilt, several frames (--frame takes one), damaged files.

With a folder as OUT, the image becomes one of a study that the workflow reads (source: images):
OUT/sub-STUDY/pet/..._rec-PROTOCOL_desc-SAMPLE_pet.nii.gz, and OUT/studies.tsv gets a row of it. IN
may be a NIfTI image then, too. Of a folder with the dose levels of the ultra-low-dose PET challenge
each patient becomes a study, STUDY1, STUDY2, ..., and each level a sample: full, 1in4, ...

Examples: tgdpet import dicom/ pet.nii.gz --series 4
          tgdpet import dicom/ images/ --study p1 --protocol v1 --sample full
          tgdpet import challenge/ images/ --study p --role train_v1v2"""


def import_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tgdpet import`."""
    option = parser.add_argument
    option("image", type=Path, metavar="IN", help="folder with the DICOM series, or with patients'")
    option("out", type=Path, metavar="OUT", help="image to write (.nii or .nii.gz), or a folder")
    choice_arguments(parser)

    group = parser.add_argument_group("with a folder as OUT")
    option = group.add_argument
    option("--study", help="name of the study, letters and digits; of several, how they begin")
    option("--role", choices=ROLES, default=TRAINING, help="role of a new study in the table")
    option("--protocol", choices=("v1", "v2"), default="v2", help="protocol of its images")
    option("--sample", default=FULL, help="sample: full, half1, 60s, 1in4, ...; not of dose levels")
    option("--units", help="a NIfTI input's units, where no JSON file says them")


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
