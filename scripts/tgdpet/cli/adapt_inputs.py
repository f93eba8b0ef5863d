"""What `tgdpet adapt` reads: halves, list mode or a table of pairs, checked before any training."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..config.sections import Training
from ..dataset import halves
from ..dataset.index import Pair, validation_studies
from ..io import nifti
from ..io.nifti import Image
from ..io.orientation import grid_difference
from ..networks import domain, weights
from ..networks.domain import Domain
from ..training.from_images import halves_both_ways, read_pairs
from .scans import Scan, caution, read_scan

STUDY = "study"  # stands for the patient in the training set


@dataclass(frozen=True)
class Inputs:
    """Pairs to train on, studies held out of it, what the training images are like, and the image
    to denoise.

    `scans` are the images of a patient that were given, or `listmode` the files that they were
    reconstructed from; `full` is what is denoised, where anything is; `private` where a path may
    name a patient.
    """

    pairs: list[Pair]
    scans: list[Scan]
    listmode: list[Path]
    full: Scan | None
    domain: Domain
    n_voxels: int  # of all images that were read
    held_out: Sequence[str] = ()
    private: bool = False


def read(args: argparse.Namespace, work: Path) -> Inputs:
    """Read and check everything that a run needs; ValueError in one line for what does not fit."""
    if args.pairs is not None:
        return _pairs(args, work)

    if args.petsird is not None:
        from .adapt_listmode import reconstruct_halves

        paths = reconstruct_halves(args, work)
    else:
        paths = [*args.halves, *([args.image] if args.image is not None else [])]

    return _halves([_read(args, path) for path in paths], args, work)


def listmode_files(path: Path) -> list[Path]:
    """A PETSIRD file and those beside it."""
    from ..petsird.side_files import side_files

    return [path, *side_files(path)]


def _read(args: argparse.Namespace, path: Path) -> Scan:
    # What list mode was reconstructed to says its units, and is a file.
    if args.petsird is not None:
        return read_scan(path, None, None, None)

    is_folder = path.is_dir()
    units = None if is_folder else args.units
    series = args.series if is_folder else None
    frame = args.frame if is_folder else None

    return read_scan(path, units, series, frame)


def _halves(scans: list[Scan], args: argparse.Namespace, work: Path) -> Inputs:
    """Two halves and, where it is given, the full image of one acquisition."""
    first, second = scans[:2]
    for scan in scans[1:]:
        _check_grid(scan, first)
    halves.check_halves(first.image, second.image, (str(first.path), str(second.path)))

    full = scans[2] if len(scans) > 2 else Scan(first.path, _mean(first.image, second.image))
    for scan in scans[2:]:
        names = (str(first.path), str(scan.path))
        halves.check_same_injection(first.image.sidecar, scan.image.sidecar, names)
        halves.check_same_place(first.image, scan.image, names)

    _, card = weights.load(args.model)
    caution(card, first, args.any_voxels)

    paths = []
    for name, scan in zip(("half1", "half2"), (first, second), strict=True):
        path = work / f"{name}.nii.gz"
        nifti.write_image(path, scan.image.data, scan.image.affine, scan.image.sidecar)
        paths.append(path)

    # What it is adapted for belongs to what it knows: the full image has less noise than a half.
    known = domain.of_images(scan.image for scan in (first, second, full))
    private = any(scan.series is not None for scan in scans)
    n_voxels = sum(scan.image.data.size for scan in scans)
    pairs = halves_both_ways(STUDY, *paths)
    if args.petsird is not None:
        return Inputs(pairs, [], listmode_files(args.petsird), full, known, n_voxels)

    return Inputs(pairs, scans, [], full, known, n_voxels, private=private)


def _pairs(args: argparse.Namespace, work: Path) -> Inputs:
    """Pairs of a new protocol, and the image to denoise where one is given."""
    _, card = weights.load(args.model)
    known = Domain()
    pairs = []
    scans = []
    private = False
    n_voxels = 0

    for number, row in enumerate(read_pairs(args.pairs), start=1):
        noisy = _read(args, row.noisy)
        target = _read(args, row.target)
        _check_grid(target, noisy)
        names = (str(noisy.path), str(target.path))
        halves.check_same_place(noisy.image, target.image, names)
        caution(card, noisy, args.any_voxels)

        paths = []
        for kind, scan in (("noisy", noisy), ("target", target)):
            path = work / f"images/{number:04d}_{kind}.nii.gz"
            nifti.write_image(path, scan.image.data, scan.image.affine, scan.image.sidecar)
            paths.append(path)

        pairs.append(Pair(row.study, f"pair{number:04d}", *paths))
        n_voxels += noisy.image.data.size + target.image.data.size
        private = private or noisy.series is not None or target.series is not None
        known = domain.united(known, domain.of_image(noisy.image))

    full = None
    if args.image is not None:
        full = _read(args, args.image)
        scans.append(full)

    studies = list(dict.fromkeys(pair.study for pair in pairs))
    held_out = validation_studies(studies, Training.validation_fraction, args.seed)
    private = private or (full is not None and full.series is not None)
    return Inputs(pairs, scans, [], full, known, n_voxels, held_out, private)


def _check_grid(scan: Scan, expected: Scan) -> None:
    difference = grid_difference(
        scan.image.data.shape,
        scan.image.affine,
        expected.image.data.shape,
        expected.image.affine,
    )
    if difference is not None:
        raise ValueError(f"{scan.path}: {difference}, as in {expected.path}")


def _mean(first: Image, second: Image) -> Image:
    """The image of both halves' events: their mean, which lasts as long as both."""
    data = np.asarray((first.data + second.data) / 2, np.float32)
    sidecar = {**first.sidecar, "Sample": "mean of two halves"}

    durations = [image.sidecar.get("FrameDuration") for image in (first, second)]
    if all(isinstance(duration, list) and len(duration) == 1 for duration in durations):
        sidecar["FrameDuration"] = [sum(duration[0] for duration in durations if duration)]

    return Image(data, first.affine, sidecar, first.stored)
