"""The subcommands that read or write DICOM: `tgdpet import`, and `tgdpet denoise` of a folder."""

from __future__ import annotations

import argparse
import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import arguments

if TYPE_CHECKING:
    from ..dicom.read import DicomImage

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

    source = read_series(args.image, args.series, args.frame)
    image = source.image
    sidecar = {**image.sidecar, "provenance": provenance(source, args, time.time())}
    write_image(args.out, image.data, image.affine, sidecar)

    size = " x ".join(map(str, image.data.shape))
    print(f"{args.out}: {size} voxels in Bq/mL, of {len(source.slices)} DICOM files")


def denoise_series(args: argparse.Namespace) -> str:
    """Run `tgdpet denoise` on a DICOM folder; the line that says what was done.

    A NIfTI output was checked before.
    """
    from ..dicom.read import read_series
    from ..dicom.write import check_output_folder, write_series
    from ..io.nifti import write_image
    from ..networks import weights
    from ..networks.denoise import denoise_image
    from ..runtime import device
    from ..runtime.progress import Progress

    started = time.time()
    to_nifti = is_nifti(args.out)
    if not to_nifti:
        check_output_folder(args.out, args.image, args.overwrite)

    source = read_series(args.image, args.series, args.frame)
    noisy = source.image
    chosen = device.pick(args.device, args.threads)
    network = weights.load(args.model, chosen)
    name = network[1].network

    with Progress(noisy.data.shape[2], "denoise a DICOM series", "slices") as bar:
        clean = denoise_image(noisy, network, chosen, bar.update)

    if to_nifti:
        record = provenance(source, args, started)
        sidecar = {**noisy.sidecar, "Network": name, "provenance": record}
        write_image(args.out, clean, noisy.affine, sidecar)
    else:
        write_series(args.out, source, clean, name, args.overwrite)

    size = " x ".join(map(str, clean.shape))
    took = f"{time.time() - started:.1f} s on {device.describe(chosen)}"
    return f"{args.out}: {size} voxels in Bq/mL, by {name}, {took}"


def is_nifti(path: Path) -> bool:
    """Whether a path names a NIfTI file."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def provenance(source: DicomImage, args: argparse.Namespace, started: float) -> dict[str, Any]:
    """What an image of DICOM files was made of: one digest of all of them, no path and no name."""
    from ..io import files

    settings = arguments.as_settings(args)
    for private in ("image", "out"):
        settings.pop(private, None)

    digest = hashlib.sha256()
    for item in source.slices:
        digest.update(item.path.read_bytes())

    record = files.sidecar([], settings, None, "cpu", started)
    record["inputs"] = {f"DICOM, {len(source.slices)} files": digest.hexdigest()}
    return record
