"""`tgdpet import` to a folder: images in the layout that the workflow reads, and their table."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import nuclides
from ..config.image_files import find_images, subject_folder
from ..config.studies import IMAGES, STUDY_NAME

TABLE = "studies.tsv"
COLUMNS = ("study", "role", "source", "bmi", "seed", "path")
SAMPLE_NAME = re.compile(r"[A-Za-z0-9.]+")


@dataclass(frozen=True)
class Taken:
    """One image to import: a DICOM folder or a NIfTI file, and what it becomes."""

    source: Path
    study: str
    sample: str


def import_studies(args: argparse.Namespace) -> None:
    """Run `tgdpet import` with a folder as output."""
    from ..runtime.progress import Progress

    _check_options(args)
    taken = list(_taken(args))
    for item in taken:
        _check_new(item, args)

    rows = _table_rows(args.out / TABLE)
    args.out.mkdir(exist_ok=True)
    with Progress(len(taken), f"import {len(taken)} images", "images") as bar:
        for item in taken:
            _import_one(item, args)
            bar.update(1)

    studies = list(dict.fromkeys(item.study for item in taken))
    new = [study for study in studies if study not in rows]
    for study in new:
        rows[study] = "\t".join((study, args.role, IMAGES, "", "", str(args.out)))
    _write_table(args.out / TABLE, rows)

    print(f"{args.out}: {len(taken)} images of {len(studies)} studies, rec-{args.protocol}")
    print(f"{args.out / TABLE}: {len(rows)} studies, {len(new)} of them new, role {args.role}")


def _check_options(args: argparse.Namespace) -> None:
    if args.study is None:
        raise ValueError(f"{args.out}: a folder as output needs --study, a name for the study")

    if not STUDY_NAME.fullmatch(args.study):
        raise ValueError(f"--study: {args.study!r} is not allowed; letters and digits only")

    if not SAMPLE_NAME.fullmatch(args.sample):
        raise ValueError(f"--sample: {args.sample!r} is not allowed; letters, digits and . only")

    if args.out.exists() and not args.out.is_dir():
        raise NotADirectoryError(f"{args.out}: exists and is no folder")

    if not args.out.absolute().parent.is_dir():
        raise FileNotFoundError(f"{args.out}: the folder {args.out.parent} does not exist")


def _taken(args: argparse.Namespace) -> Iterator[Taken]:
    """The images of the input: a single one, or all dose levels of all patients."""
    patients = _patients(args.image)
    if not patients:
        yield Taken(args.image, args.study, args.sample)
        return

    # Folders are named after patients; studies are not.
    width = len(str(len(patients)))
    for number, levels in enumerate(patients, start=1):
        for level, folder in levels:
            yield Taken(folder, f"{args.study}{number:0{width}d}", level)


def _patients(source: Path) -> list[Sequence[tuple[str, Path]]]:
    if not source.is_dir():
        return []

    from ..dicom.dose_levels import dose_patients

    return [list(patient.levels.items()) for patient in dose_patients(source)]


def _import_one(item: Taken, args: argparse.Namespace) -> None:
    from ..io.nifti import write_image
    from .scans import origin, read_scan

    started = time.time()
    scan = read_scan(item.source, args.units, args.series, args.frame)
    sidecar = scan.image.sidecar
    nuclide = sidecar.get("TracerRadionuclide")
    half_life_s = sidecar.get("TracerHalfLife")
    if isinstance(nuclide, str) and isinstance(half_life_s, (int, float)):
        tracer = str(sidecar.get("TracerName") or nuclides.UNKNOWN)
        nuclides.check(tracer, nuclide, half_life_s, str(item.source))

    record = origin([scan], [], args, "cpu", started)

    tracer = re.sub("[^A-Za-z0-9]", "", str(sidecar.get("TracerName") or ""))
    path = _path_of(item, args, tracer or nuclides.UNKNOWN)
    _check_new(item, args, path)

    known = {"Study": item.study, "Sample": item.sample, "Protocol": args.protocol}
    beside = {**sidecar, **known, "provenance": record}
    write_image(path, scan.image.data, scan.image.affine, beside)


def _path_of(item: Taken, args: argparse.Namespace, tracer: str) -> Path:
    from ..io.nifti import image_name

    folder = subject_folder(args.out, item.study)
    return folder / image_name(item.study, args.protocol, item.sample, tracer)


def _check_new(item: Taken, args: argparse.Namespace, path: Path | None = None) -> None:
    """Refuse what would replace an image without `--overwrite`, or lie beside that of another
    tracer as `path`.
    """
    there = find_images(args.out, item.study).get((args.protocol, item.sample))

    if there is not None and not args.overwrite:
        raise FileExistsError(f"{there}: exists; give --overwrite to replace it")

    if there is not None and path not in (None, there):
        raise FileExistsError(f"{there}: exists, of another tracer than {path}; remove it first")


def _table_rows(path: Path) -> dict[str, str]:
    """Study -> row of a table that exists, columns as they are; an empty one where there is none.

    Raises ValueError for a table of other columns.
    """
    if not path.exists():
        return {}

    head, *rows = path.read_text(encoding="utf-8-sig").splitlines() or [""]
    if tuple(head.split("\t")[: len(COLUMNS)]) != COLUMNS:
        raise ValueError(f"{path}: row 1: expected columns {', '.join(COLUMNS)}, got {head!r}")

    named = {"": head}
    for number, row in enumerate(rows, start=2):
        if not row.strip():
            continue

        study = row.split("\t")[0]
        if study in named:
            came = f"got {study!r}" if study else "got none"
            raise ValueError(f"{path}: row {number}: expected a study, each once, {came}")
        named[study] = row

    return named


def _write_table(path: Path, rows: dict[str, str]) -> None:
    from ..io.files import write_text

    head = rows.pop("", "\t".join(COLUMNS))
    write_text(path, "\n".join([head, *rows.values()]) + "\n")
