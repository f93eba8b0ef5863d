"""Whether a NIfTI file holds the voxels that its header claims, before they take memory."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any, BinaryIO

from .damage import readable
from .nibabel_alone import nib

BYTES_AT_ONCE = 1 << 20
HEADERS = {348: nib.Nifti1Header, 540: nib.Nifti2Header}  # by the size that stands in front
SINGLE_FILE = b"n+"  # how the magic word of a header begins whose voxels follow it


def check_size(path: str | Path) -> None:
    """Raise ValueError naming the file unless it is as long as its header says.

    A .gz file is read to its end, where its checksum is, but not beyond what its header claims:
    nibabel takes damaged voxels as they are, and any number of bytes behind them. What is no NIfTI
    header is left to nibabel.
    """
    is_compressed = str(path).lower().endswith(".gz")

    opened = gzip.open if is_compressed else open
    with readable(path, "NIfTI file"), opened(path, "rb") as file:
        header = _header(file.read(max(HEADERS)))
        if header is None:
            return

        claimed = _claimed_bytes(header)
        found = _compressed_bytes(file, claimed) if is_compressed else Path(path).stat().st_size

    if found != claimed:
        shape = tuple(int(n) for n in header.get_data_shape())
        more = "or more" if is_compressed and found > claimed else ""
        came = f"the file has {found} {more}".rstrip()
        raise ValueError(
            f"{path}: damaged: shape {shape} of {header.get_data_dtype()} takes {claimed} bytes, "
            f"{came}"
        )


def _header(content: bytes) -> Any:
    """The header in the first bytes of a file; None where there is none."""
    for order in ("little", "big"):
        kind = HEADERS.get(int.from_bytes(content[:4], order))
        if kind is None or len(content) < kind.sizeof_hdr:
            continue

        header = kind(content[: kind.sizeof_hdr], check=False)
        if not bytes(header["magic"]).startswith(SINGLE_FILE):
            raise ValueError("expected header and voxels in one file, .nii or .nii.gz")
        return header

    return None


def _claimed_bytes(header: Any) -> int:
    """Where the voxels of a header end in the file."""
    shape = [int(n) for n in header.get_data_shape()]
    if min(shape, default=0) < 0:
        raise ValueError(f"a negative size in the shape {shape}")

    n_voxels = math.prod(shape) if shape else 0
    offset = int(header.get_data_offset()) or header.single_vox_offset

    return int(offset + n_voxels * header.get_data_dtype().itemsize)


def _compressed_bytes(file: BinaryIO | gzip.GzipFile, claimed: int) -> int:
    """How many bytes a compressed file holds, counted to the first beyond those claimed."""
    while file.tell() <= claimed:
        if not file.read(min(BYTES_AT_ONCE, claimed + 1 - file.tell())):
            break

    return file.tell()
