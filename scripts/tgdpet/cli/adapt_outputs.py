"""What `tgdpet adapt` writes, all or nothing: the denoised image, its page, the network."""

from __future__ import annotations

import argparse
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..io import files
from ..networks import weights
from ..networks.denoise import denoise_image
from ..report import adaptation_page
from ..runtime import device
from ..runtime.progress import Progress
from ..training.bit_comparison import BitComparison, compare
from .outputs import IMAGE_SUFFIXES, beside, check_out, files_of, image_files
from .scans import Scan, is_nifti, origin, write_like

if TYPE_CHECKING:
    from ..training.job import Job
    from .adapt_inputs import Inputs

NETWORK_ENDINGS = (".safetensors", ".json", ".md", "_log.csv")
PAGE_BYTES = 12 * 2**20  # at most
BYTES_A_VOXEL = 40  # of images, training volumes and results, on the disk
NETWORK_BYTES = 64 * 2**20  # with its checkpoint, at the paper's width


def check(args: argparse.Namespace) -> None:
    """Refuse, before any work, outputs that cannot be written or that would replace something."""
    read = files_of(args.model)
    for path in (*(args.halves or ()), args.image):
        read += image_files(path) if path is not None else []
    read += [path for path in (args.petsird, args.pairs) if path is not None]

    if args.save_network is not None:
        made = _network_files(args.save_network)
        check_out(args.save_network, (".safetensors",), made, read, args.overwrite)

    if args.out is None:
        return

    page = beside(args.out, ".html")
    made = [page, beside(args.out, ".json")]
    if args.save_network is not None and made[1] in _network_files(args.save_network):
        both = f"{made[1]} would belong to the image and to the network"
        raise ValueError(f"--save-network: {both}; choose another name")

    if is_nifti(args.out):
        check_out(args.out, IMAGE_SUFFIXES, [args.out, *made], read, args.overwrite)
        return

    from ..dicom.write import check_output_folder

    check_output_folder(args.out, args.image, args.overwrite)
    check_out(page, (".html",), made, read, args.overwrite)


def check_room(work: Path, n_voxels: int) -> None:
    """Refuse a disk that has no room for what a run of images of `n_voxels` in all writes."""
    needed = n_voxels * BYTES_A_VOXEL + PAGE_BYTES + NETWORK_BYTES
    free = shutil.disk_usage(work.absolute().parent).free
    if free < needed:
        missing = f"expected {needed / 1e6:.0f} MB of free disk, got {free / 1e6:.0f} MB"
        raise OSError(f"{work.parent.absolute()}: {missing}")


def finish(args: argparse.Namespace, job: Job, inputs: Inputs, work: Path) -> list[str]:
    """Denoise with the base and with the adapted network, and put all results in their places;
    lines that say what was made.
    """
    base, _ = weights.load(args.model)
    adapted, card = weights.load(job.weights)
    comparison = compare(base, adapted, card.mask)
    said = [_proof(card.network, comparison)]

    made: list[tuple[Path, Path]] = []
    if inputs.full is not None:
        made += _write_image(args, job, inputs, inputs.full, comparison, work)
        said.append(f"{args.out}: denoised, by {card.network}")
        said.append(f"{beside(args.out, '.html')}: before and after, and what was retrained")

    if args.save_network is not None:
        endings = zip(_network_files(job.weights), _network_files(args.save_network), strict=True)
        made += endings
        said.append(f"{args.save_network}: the network {card.network}")

    _move(made)
    return said


def _proof(network: str, comparison: BitComparison) -> str:
    kept = f"{comparison.kept_same} of {comparison.kept} others have the same bits"
    opened = f"{comparison.opened_changed} of {comparison.opened} open parameters changed"

    return f"{network}: {opened}, {kept}"


def _write_image(
    args: argparse.Namespace,
    job: Job,
    inputs: Inputs,
    full: Scan,
    comparison: BitComparison,
    work: Path,
) -> list[tuple[Path, Path]]:
    """Write image, sidecar and page into the working folder; (from, to) of each."""
    chosen = device.pick(args.device, args.threads)
    before, after = (
        _denoised(full, path, chosen, label)
        for path, label in ((args.model, "before"), (job.weights, "after"))
    )

    read = [args.model, *inputs.listmode]
    record = origin(inputs.scans, read, args, device.describe(chosen), job.started)
    network = files.read_json(job.weights.with_suffix(".json"))
    content = adaptation_page.Adaptation(
        image=full.image,
        before=before,
        after=after,
        label=inputs.listmode[0].name if inputs.listmode else full.label,
        base=weights.load(args.model)[1],
        card=weights.load(job.weights)[1],
        numbers=network,
        log=job.log,
        comparison=comparison,
        seconds=time.time() - job.started,
    )
    page = work / "page.html"
    files.write_text(page, adaptation_page.page(content))

    out = work / ("out.nii.gz" if args.out.name.endswith(".gz") else "out.nii")
    moves = [(page, beside(args.out, ".html"))]
    if not is_nifti(args.out):
        sidecar = {"Network": job.name, "provenance": record}
        files.write_json(work / "out.json", sidecar)
        out = work / "out"
        shutil.rmtree(out, ignore_errors=True)

    write_like(out, full, after, job.name, record, overwrite=True)
    return [*moves, (work / "out.json", beside(args.out, ".json")), (out, args.out)]


def _denoised(scan: Scan, model: Path, chosen: Any, label: str) -> np.ndarray:
    network = weights.load(model, chosen)
    with Progress(scan.image.data.shape[2], f"denoise {label}", "slices") as bar:
        return denoise_image(scan.image, network, chosen, bar.update)


def _network_files(path: Path) -> list[Path]:
    return [path.with_name(path.name.removesuffix(".safetensors") + e) for e in NETWORK_ENDINGS]


def _move(made: list[tuple[Path, Path]]) -> None:
    """Move every result to its place; what was moved is taken back where one cannot be."""
    copies = []
    try:
        for source, place in made:
            copy = place.with_name(f".tmp-{os.getpid()}-{place.name}")
            copies.append((copy, place))
            shutil.move(source, copy)
    except OSError as error:
        for copy, _ in copies:
            _remove(copy)
        raise OSError(f"{place}: cannot be written: {error.strerror or error}") from error

    for copy, place in copies:
        if place.is_dir():
            shutil.rmtree(place)
        copy.replace(place)
        files.written.append(place)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
