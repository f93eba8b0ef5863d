"""A denoised image as a DICOM series: the geometry and patient of the series that it came from."""

from __future__ import annotations

import copy
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from .read import DicomImage

LARGEST_STORED = 32767  # signed 16 bit: rounding errs by at most 1.6e-5 of the largest value
LONGEST_DESCRIPTION = 64  # of DICOM's LO
# What describes the stored values of the original, or its vendor's scaling of them.
NO_LONGER_TRUE = (
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "WindowCenter",
    "WindowWidth",
    "RescaleType",
    "VOILUTSequence",
    "ModalityLUTSequence",
)
PHILIPS_GROUP = 0x7053


def write_series(
    folder: str | Path, source: DicomImage, data: np.ndarray, network: str, replace: bool = False
) -> int:
    """Write `data` (X, Y, Z) in Bq/mL, on the grid of `source`, as a derived series; files written.

    New series and instance UIDs, ImageType DERIVED\\SECONDARY, one rescale slope, units BQML; frame
    of reference, positions and patient are those of the source. The series is made beside `folder`
    and moved there when it is whole; a folder that exists is refused, or, with `replace`, replaced
    if nothing but such a series is in it.
    """
    import pydicom
    from pydicom.uid import generate_uid

    folder = Path(folder)
    check_output_folder(folder, source.slices[0].path.parent, replace)

    planes = source.as_slices(np.asarray(data, np.float64))
    largest = float(np.abs(planes).max())
    slope = largest / LARGEST_STORED if largest > 0 else 1.0

    unfinished = folder.with_name(f".tmp-{folder.name}")
    replaced = folder.with_name(f".tmp-replaced-{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)

    series_uid = generate_uid()
    try:
        unfinished.mkdir()
        for number, (item, plane) in enumerate(zip(source.slices, planes, strict=True), start=1):
            dataset = pydicom.dcmread(item.path)
            derived = _derived(dataset, plane, slope, series_uid, network)
            derived.InstanceNumber = number
            derived.save_as(unfinished / f"{number:05d}.dcm", enforce_file_format=True)

        # The old series goes only when the new one is in its place.
        if folder.exists():
            folder.rename(replaced)
        unfinished.rename(folder)
        shutil.rmtree(replaced, ignore_errors=True)
    except BaseException as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if replaced.exists() and not folder.exists():
            replaced.rename(folder)
        if isinstance(error, OSError):
            raise OSError(f"{folder}: cannot be written: {error.strerror or error}") from error
        raise

    return len(planes)


def check_output_folder(folder: Path, source: Path, replace: bool) -> None:
    """Refuse, before any work, a folder that cannot be written or that holds something else."""
    parent = folder.absolute().parent
    if not parent.is_dir():
        raise FileNotFoundError(f"{folder}: the folder {parent} does not exist")

    if not os.access(parent, os.W_OK):
        raise PermissionError(f"{folder}: the folder {parent} cannot be written to")

    whole = folder.resolve()
    if whole == source.resolve() or whole in source.resolve().parents:
        raise ValueError(f"{folder}: holds the input {source}; choose another output")

    if folder.exists() and not replace:
        raise FileExistsError(f"{folder}: exists; give --overwrite to replace it")

    if folder.exists() and not (folder.is_dir() and _only_written_here(folder)):
        raise FileExistsError(f"{folder}: holds other files than a denoised series; not replaced")


def _only_written_here(folder: Path) -> bool:
    return all(re.fullmatch(r"\d{5}\.dcm", path.name) for path in folder.iterdir())


def _derived(dataset: Any, plane: np.ndarray, slope: float, series_uid: str, network: str) -> Any:
    """A copy of a slice's data set with other voxels, and what has to change with them."""
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    derived = copy.deepcopy(dataset)
    for tag in NO_LONGER_TRUE:
        if tag in derived:
            delattr(derived, tag)
    for element in [e for e in derived if e.tag.group == PHILIPS_GROUP]:
        del derived[element.tag]

    derived.SourceImageSequence = [_reference(dataset)]
    derived.SOPInstanceUID = generate_uid()
    derived.SeriesInstanceUID = series_uid
    derived.ImageType = ["DERIVED", "SECONDARY", *list(dataset.get("ImageType", []))[2:]]
    derived.SeriesDescription = _description(dataset, network)
    derived.SeriesNumber = int(dataset.get("SeriesNumber") or 0) * 100 + 1
    derived.DerivationDescription = (
        f"Denoised by the network {network}, tgdpet {__version__}. "
        "Research software, not for diagnosis."
    )

    derived.Units = "BQML"
    derived.RescaleSlope = f"{slope:.10g}"
    derived.RescaleIntercept = "0"
    derived.BitsAllocated = 16
    derived.BitsStored = 16
    derived.HighBit = 15
    derived.PixelRepresentation = 1
    stored = np.rint(plane / float(derived.RescaleSlope))
    limited = np.clip(stored, -LARGEST_STORED, LARGEST_STORED).astype("<i2")
    derived.PixelData = limited.tobytes()
    derived["PixelData"].VR = "OW"
    derived["PixelData"].is_undefined_length = False

    derived.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    derived.file_meta.MediaStorageSOPInstanceUID = derived.SOPInstanceUID
    return derived


def _reference(dataset: Any) -> Any:
    from pydicom.dataset import Dataset

    reference = Dataset()
    reference.ReferencedSOPClassUID = dataset.SOPClassUID
    reference.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
    return reference


def _description(dataset: Any, network: str) -> str:
    added = f"denoised {network} tgdpet {__version__}"
    original = str(dataset.get("SeriesDescription") or "").strip()
    room = LONGEST_DESCRIPTION - len(added) - 3
    return f"{original[:room]} | {added}" if original and room > 0 else added
