"""Images that the command `tgdpet` is given, NIfTI or DICOM, and writes again as what they were."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import arguments

if TYPE_CHECKING:
    import numpy as np

    from ..dicom.read import DicomImage
    from ..io.nifti import Image
    from ..networks.weights import Card

# Options that name files of a patient.
PATHS = ("image", "out", "halves", "petsird", "pairs", "save_network")


@dataclass(frozen=True)
class Scan:
    """An image of activity and where it came from: a NIfTI file, or a DICOM `series`."""

    path: Path
    image: Image
    series: DicomImage | None = None

    @property
    def label(self) -> str:
        """What it may be called in a result: a file's name; nothing of a DICOM series."""
        if self.series is None:
            return self.path.name

        return f"DICOM, {len(self.series.slices)} files"


def read_scan(path: Path, units: str | None, series: str | None, frame: int | None) -> Scan:
    """Read a NIfTI file, or the PET series in a folder, as Bq/mL; ValueError for options that are
    of the other kind.
    """
    from ..io import nifti

    if path.is_dir():
        from ..dicom.read import read_series

        if units is not None:
            raise ValueError(f"{path}: --units: a DICOM series says its units itself")

        read = read_series(path, series, frame)
        return Scan(path, read.image, read)

    if series is not None or frame is not None:
        raise ValueError(f"{path}: --series and --frame choose among DICOM files of a folder")

    return Scan(path, nifti.read_converted(path, units))


def caution(card: Card, scan: Scan, any_voxels: bool) -> None:
    """Warn, with numbers, where an image is far from those that a network was trained on; refuse
    voxels of quite another size, unless they are asked for.
    """
    from ..networks import domain

    known = domain.from_card(card.domain)
    refused = domain.refused_voxels(known, scan.image)
    if refused is not None and not any_voxels:
        raise ValueError(f"{scan.path}: {card.network}: {refused}")

    for remark in domain.far(known, scan.image):
        print(f"warning: {scan.label}: {remark} ({card.network})", file=sys.stderr)


def origin(
    scans: Iterable[Scan],
    others: Iterable[Path],
    args: argparse.Namespace,
    device: str,
    started: float,
) -> dict[str, Any]:
    """The record of what a result was made of: files with their digests, settings, versions.

    A DICOM series is one digest of all its files. Paths may name a patient: where one is read, no
    path of an image is kept.
    """
    from ..io import files

    scans = list(scans)
    settings = arguments.as_settings(args)
    if any(scan.series is not None for scan in scans):
        for key in PATHS:
            settings.pop(key, None)

    record = files.sidecar(others, settings, None, device, started)
    record["inputs"] |= {key: value for scan in scans for key, value in _digest(scan)}
    return record


def _digest(scan: Scan) -> Iterator[tuple[str, str]]:
    from ..io import files

    if scan.series is None:
        yield str(scan.path), files.sha256(scan.path)
        return

    digest = hashlib.sha256()
    for item in scan.series.slices:
        digest.update(item.path.read_bytes())
    yield scan.label, digest.hexdigest()


def write_like(
    out: Path,
    scan: Scan,
    data: np.ndarray,
    network: str,
    record: dict[str, Any],
    overwrite: bool,
) -> None:
    """Write `data` (X, Y, Z) in Bq/mL on the grid of `scan`: as NIfTI with a sidecar, or as a DICOM
    series where `out` names a folder.
    """
    from ..io import nifti

    if is_nifti(out):
        image = scan.image
        beside = {**image.sidecar, "Network": network, "provenance": record}
        nifti.write_image(out, data, image.affine, beside, image.stored)
        return

    from ..dicom.write import write_series

    assert scan.series is not None  # checked before any work
    write_series(out, scan.series, data, network, overwrite)


def is_nifti(path: Path) -> bool:
    """Whether a path names a NIfTI file."""
    return path.name.lower().endswith((".nii", ".nii.gz"))
