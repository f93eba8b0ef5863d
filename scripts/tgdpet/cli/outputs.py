"""Outputs of the command `tgdpet`, refused before any work where they cannot be written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

IMAGE_SUFFIXES = (".nii", ".nii.gz")


def image_files(path: Path) -> list[Path]:
    """An image and the sidecar beside it; nothing of a DICOM folder."""
    from ..io import nifti

    return [] if path.is_dir() else [path, nifti.sidecar_path(path)]


def beside(path: Path, suffix: str) -> Path:
    """The file beside an image, or beside a folder of one, with another suffix."""
    name = path.name
    for ending in (".gz", ".nii"):
        if name.lower().endswith(ending):
            name = name[: -len(ending)]

    return path.with_name(name + suffix)


def files_of(model: Path) -> list[Path]:
    """A network and the files beside it, which an output of the same name would replace."""
    beside = [model.with_suffix(suffix) for suffix in (".json", ".md") if model.name]

    return [model, *beside]


def check_out(
    out: Path,
    suffixes: tuple[str, ...],
    outputs: Sequence[Path],
    inputs: Sequence[Path],
    overwrite: bool,
) -> None:
    """Refuse, before any work, an output that cannot be written or that would take the place of
    something.
    """
    if not out.name.lower().endswith(suffixes):
        allowed = " or ".join("*" + suffix for suffix in suffixes)
        raise ValueError(f"{out}: expected an output named {allowed}")

    if not out.parent.is_dir():
        raise FileNotFoundError(f"{out}: the folder {out.parent} does not exist")

    if not os.access(out.parent, os.W_OK):
        raise PermissionError(f"{out}: the folder {out.parent} cannot be written to")

    for path in outputs:
        for source in inputs:
            if path.exists() and source.exists() and path.samefile(source):
                would = f"is the input {source} and would be overwritten"
                raise ValueError(f"{path}: {would}; choose another output")

        if path.is_dir():
            raise IsADirectoryError(f"{path}: is a folder")

        if path.exists() and not overwrite:
            raise FileExistsError(f"{path}: exists; give --overwrite to replace it")
