"""Which files of a folder are one PET series, one frame of it, in which order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PET = "PT"
ENHANCED_PET = "1.2.840.10008.5.1.4.1.1.130"
DICOMDIR = "1.2.840.10008.1.3.10"
# What tells the frames and gates of one series apart, at one position (PS3.3 C.8.9).
TEMPORAL_TAGS = (
    "FrameReferenceTime",
    "TriggerTime",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
)
LISTED = 8  # series that an error message names


class DicomError(ValueError):
    """A DICOM series that cannot be taken; the message names file or tag, expected and got."""


@dataclass(frozen=True)
class Slice:
    """One file of a series: its path and its header, without voxels."""

    path: Path
    header: Any


@dataclass(frozen=True)
class Series:
    """The files of one series, in no particular order."""

    uid: str
    slices: tuple[Slice, ...]

    @property
    def first(self) -> Any:
        """The header of one of its files, for what all of them share."""
        return self.slices[0].header

    @property
    def modality(self) -> str:
        """PT, CT, MR, ..."""
        return str(self.first.get("Modality", "none"))

    def describe(self) -> str:
        """A few words to choose it by; nothing of the patient."""
        number = self.first.get("SeriesNumber", "?")
        description = str(self.first.get("SeriesDescription", "")) or "no description"
        return f"{number}: {description!r} ({self.modality}, {len(self.slices)} files)"


def find_series(folder: str | Path) -> list[Series]:
    """Every series below `folder`, by series number; files that are no DICOM are passed over.

    Raises FileNotFoundError for a folder that is not there, DicomError for a damaged file and where
    there is no DICOM at all.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of DICOM files")

    by_uid: dict[str, list[Slice]] = defaultdict(list)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        header = read_header(path)
        if header is not None and header.file_meta.get("MediaStorageSOPClassUID") != DICOMDIR:
            by_uid[_required(header, "SeriesInstanceUID", path)].append(Slice(path, header))

    if not by_uid:
        raise DicomError(
            f"{folder}: expected a folder with a PET DICOM series, got no DICOM file in it"
        )

    found = [Series(uid, tuple(slices)) for uid, slices in by_uid.items()]
    return sorted(
        found, key=lambda series: (int(series.first.get("SeriesNumber") or 0), series.uid)
    )


def load_pydicom() -> Any:
    """The package pydicom; DicomError where it is not installed."""
    try:
        import pydicom
    except ImportError as error:
        raise DicomError("DICOM needs the package pydicom: pip install 'tgdpet[dicom]'") from error
    return pydicom


def read_header(path: Path) -> Any:
    """The header of a DICOM file; None for a file that is none.

    Raises DicomError for a file that says it is DICOM and cannot be read.
    """
    if not _says_dicom(path):
        return None

    pydicom = load_pydicom()
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        list(
            header
        )  # every element is decoded here, or a damaged one would end what reads it later
    except Exception as error:
        raise DicomError(f"{path}: not a readable DICOM file (truncated?): {error}") from error
    return header


def choose_series(found: Sequence[Series], folder: str | Path, wanted: str | None) -> Series:
    """The PET series that is meant: the only one, or that with this number, UID or description.

    Raises DicomError that lists the series to choose from.
    """
    pet = [series for series in found if series.modality == PET]
    if not pet:
        modalities = ", ".join(sorted({series.modality for series in found}))
        raise DicomError(f"{folder}: Modality: expected a PET series (PT), got {modalities}")

    if wanted is not None:
        pet = [series for series in pet if wanted in _names(series)]
        if not pet:
            raise DicomError(f"{folder}: --series {wanted}: no such PET series; {_listing(found)}")

    if len(pet) > 1:
        raise DicomError(
            f"{folder}: {len(pet)} PET series; choose one with --series NUMBER: {_listing(pet)}"
        )

    return pet[0]


def one_frame(series: Series, frame: int | None) -> Series:
    """The slices of a single frame or gate: the only one, or number `frame` from 1 on, in time.

    Raises DicomError where there are several and none is chosen, where there is none of that
    number, and where slices of one frame lie at the same position.
    """
    by_position: dict[tuple[float, ...], list[Slice]] = defaultdict(list)
    for item in series.slices:
        position = numbers_of(item, "ImagePositionPatient", 3)
        by_position[tuple(position.round(3).tolist())].append(item)

    counts = {len(items) for items in by_position.values()}
    n_frames = max(counts)
    if n_frames == 1:
        if frame not in (None, 1):
            raise DicomError(f"--frame {frame}: the series {series.describe()} has one frame")
        return series

    doubled = next(items for items in by_position.values() if len(items) == n_frames)
    if len({_moment(item) for item in doubled}) < n_frames:
        raise DicomError(
            f"{doubled[0].path}: lies at the same position as {doubled[1].path} "
            f"({list(doubled[0].header.ImagePositionPatient)} mm): slices are doubled"
        )

    if counts != {n_frames}:
        raise DicomError(
            f"{doubled[0].path.parent}: series {series.describe()}: {n_frames} frames or gates, "
            "but not every slice is there in each of them"
        )

    if frame is None or not 1 <= frame <= n_frames:
        raise DicomError(
            f"{doubled[0].path.parent}: series {series.describe()}: {n_frames} frames or gates; "
            f"choose one with --frame 1 to {n_frames}"
        )

    in_time = (sorted(items, key=_moment)[frame - 1] for items in by_position.values())
    return Series(series.uid, tuple(in_time))


def check_readable(series: Series) -> None:
    """Raise DicomError, naming file and tag, for images that are not plain slices of one volume."""
    for item in series.slices:
        header, path = item.header, item.path
        if header.get("SOPClassUID") == ENHANCED_PET or int(header.get("NumberOfFrames") or 1) > 1:
            raise DicomError(
                f"{path}: NumberOfFrames: expected one slice a file, got an enhanced (multi-frame) "
                "PET image; export the series as classic PET images"
            )

        samples = int(header.get("SamplesPerPixel") or 1)
        photometric = str(header.get("PhotometricInterpretation", "MONOCHROME2"))
        if samples != 1 or not photometric.startswith("MONOCHROME2"):
            raise DicomError(
                f"{path}: PhotometricInterpretation: expected MONOCHROME2 with one sample a pixel, "
                f"got {photometric} with {samples}"
            )

    _same(series, "Rows")
    _same(series, "Columns")
    _same(series, "Units")
    _same(series, "FrameOfReferenceUID", optional=True)


def numbers_of(item: Slice, tag: str, length: int) -> np.ndarray:
    """The numbers (length,) of an element; DicomError naming file and tag for anything else."""
    value = _required(item.header, tag, item.path)
    try:
        vector = np.array([float(x) for x in value])
    except (TypeError, ValueError) as error:
        raise DicomError(f"{item.path}: {tag}: expected {length} numbers, got {value!r}") from error
    if vector.shape != (length,) or not np.isfinite(vector).all():
        raise DicomError(f"{item.path}: {tag}: expected {length} numbers, got {list(value)}")
    return vector


def _same(series: Series, tag: str, optional: bool = False) -> None:
    first = series.slices[0]
    expected = first.header.get(tag)
    if expected is None and not optional:
        raise DicomError(f"{first.path}: {tag}: expected a value, got none")

    for item in series.slices:
        if item.header.get(tag) != expected:
            raise DicomError(
                f"{item.path}: {tag}: expected {expected} as in {first.path.name}, "
                f"got {item.header.get(tag)}: mixed series"
            )


def _says_dicom(path: Path) -> bool:
    """By the four letters behind the preamble (PS3.10)."""
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def _required(header: Any, tag: str, path: Path) -> Any:
    value = header.get(tag)
    if value is None or value == "":
        raise DicomError(f"{path}: {tag}: expected a value, got none")
    return value


def _moment(item: Slice) -> tuple[float, ...]:
    """What tells a slice's frame or gate from others at the same position."""
    return tuple(float(item.header.get(tag) or 0) for tag in TEMPORAL_TAGS)


def _names(series: Series) -> tuple[str, ...]:
    header = series.first
    return series.uid, str(header.get("SeriesNumber")), str(header.get("SeriesDescription"))


def _listing(found: Iterable[Series]) -> str:
    texts = [series.describe() for series in found]
    more = f" and {len(texts) - LISTED} more" if len(texts) > LISTED else ""
    return "; ".join(texts[:LISTED]) + more
