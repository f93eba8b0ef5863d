"""`tgdpet adapt`: a network adapted to one patient's scan, or to the images of a new protocol."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.loading import load_section
from ..config.sections import Grid, ReconProtocol
from . import arguments
from .dicom import choice_arguments
from .scans import PATHS, is_nifti

if TYPE_CHECKING:
    from ..config.sections import NetworkEntry, Training
    from ..training.job import Job
    from .adapt_inputs import Inputs

ADAPT = """\
Adapt a network to one patient's scan, or to a new protocol, and leave the rest of it as it was.

--halves A B   Two images of the two halves of one acquisition's events (NIfTI or DICOM folders):
               the network's redundant kernels are retrained on them (Noise2Noise with Targeted
               Gradient Descent), and the full image, --image or else their mean, is denoised.
--petsird F    The same from list mode, with the files beside it (X.json, X.mu.nii.gz): it is split,
               reconstructed and adapted to.
--pairs TABLE  Pairs of noisy images and targets of a protocol (.tsv with the columns noisy, target
               and, where several rows are of one study, study).

Beside OUT lies OUT.html, one page that opens offline: input, before, after and difference, noise
and uptake in a sphere of your choice, the training's log, which kernels moved, and the proof that
nothing else did. The image itself stands in it: keep it as you keep the image.

Ctrl-C leaves a checkpoint; the same command goes on. MODEL may be the result of an earlier round.

Example: tgdpet adapt --model v2-net --halves half1.nii.gz half2.nii.gz --out denoised.nii.gz"""

# As in the workflow's default configuration (config/config.yaml).
PETSIRD_PROTOCOL = ReconProtocol(psf_fwhm_mm=[8.5, 8.5, 8.5], iterations=2, subsets=5)
CHECKPOINT = "checkpoint.safetensors"
METHOD_OPTIONS = (
    *("method", "phi", "fraction", "fraction_of", "keep_blocks", "accumulate", "blocks"),
    *("epochs", "learning_rate", "patch"),
)


def adapt_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tgdpet adapt`."""
    source = parser.add_mutually_exclusive_group(required=True)
    given = source.add_argument
    given("--halves", nargs=2, type=Path, metavar=("A", "B"), help="images of two halves of a scan")
    given("--petsird", type=Path, metavar="F", help="list mode (.petsird)")
    given("--pairs", type=Path, metavar="TABLE", help="pairs of a protocol (.tsv or .csv)")

    option = parser.add_argument
    option("--image", type=Path, metavar="FULL", help="image to denoise; the halves' mean if none")
    option("--out", type=Path, help="denoised image (.nii, .nii.gz; of DICOM, a folder)")
    option("--save-network", type=Path, metavar="N", help="keep the adapted network (.safetensors)")
    option("--name", help="the adapted network's name, which also seeds its training")
    option("--units", help="units of NIfTI images, where no JSON file says them: Bq/mL or kBq/mL")
    option("--any-voxels", action="store_true", help="take images of quite other voxels, too")

    _method_arguments(parser)

    option("--seed", type=int, default=2021, help="the run's seed (default 2021)")
    devices = ("auto", "cpu", "cuda")
    option("--device", default="auto", choices=devices, help="where to run; auto: a GPU if any")
    option("--threads", type=int, help="CPU threads; all cores if not given")

    choice_arguments(parser)

    arguments.add_options(parser, Grid, "Image grid (--petsird)")
    arguments.add_options(parser, ReconProtocol, "Reconstruction (--petsird)")
    parser.set_defaults(**dataclasses.asdict(PETSIRD_PROTOCOL))


def _method_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("Method; what is not given is as in the workflow")
    option = group.add_argument
    option("--method", choices=("tgd", "finetune"), help="tgd: redundant kernels (default)")
    chosen = group.add_mutually_exclusive_group().add_argument
    chosen("--phi", type=float, help="KSE below which a kernel is retrained, instead of a share")
    chosen("--fraction", type=float, help="share of kernels to retrain (0.35 of the living)")
    option("--fraction-of", choices=("all", "alive"), help="of all kernels, or of the living ones")
    option("--keep-blocks", type=int, help="blocks at the start whose kernels all stay (0; tgd)")
    option("--accumulate", action="store_const", const=True, help="what earlier rounds opened, too")
    option("--blocks", type=int, help="blocks to retrain, from the end (finetune)")
    option("--epochs", type=int, help="passes over the slices (50; pairs: 8)")
    option("--learning-rate", type=float, help="Adam's step size (1e-3)")
    option("--patch", type=int, help="patch side, voxels (32)")


def adapt(args: argparse.Namespace) -> None:
    """Run `tgdpet adapt`."""
    _check_packages(args)

    from ..networks import shipped
    from ..training.from_images import adapt_to_pairs
    from . import adapt_inputs, adapt_outputs

    started = time.time()
    args.threads = args.threads or _cores()
    args.model = shipped.find(args.model)
    entry, settings = _method(args)
    _check_options(args)
    adapt_outputs.check(args)

    # Beside the result, so that it can be moved there; kept until then, with the checkpoint.
    work = _work_folder(args)
    try:
        inputs = adapt_inputs.read(args, work)
        adapt_outputs.check_room(work, inputs.n_voxels)
        job = _job(args, work, inputs, started)
        adapt_to_pairs(job, inputs.pairs, inputs.held_out, args.model, entry, settings)
        said = adapt_outputs.finish(args, job, inputs, work)
    except (ValueError, OSError):
        if not (work / CHECKPOINT).exists():
            shutil.rmtree(work, ignore_errors=True)
        raise

    shutil.rmtree(work)
    for line in said:
        print(line)
    print(f"took {time.time() - started:.0f} s")


def _check_packages(args: argparse.Namespace) -> None:
    """Refuse, in one line, what lacks packages of its extra."""
    needed = {"adapt": ("jinja2", "pandas", "psutil")}
    if args.petsird is not None:
        needed["workflow"] = ("numba", "petsird", "scipy")

    for extra, packages in needed.items():
        missing = [name for name in packages if importlib.util.find_spec(name) is None]
        if missing:
            install = f"pip install 'tgdpet[{extra}]'"
            raise ValueError(f"tgdpet adapt: {missing[0]} is not installed: {install}")


def _cores() -> int:
    """The cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # another system than Linux
        return os.cpu_count() or 1


def _method(args: argparse.Namespace) -> tuple[NetworkEntry, Training]:
    """How the network is adapted: the workflow's defaults for halves or pairs, and what was given.

    Raises ConfigError, a ValueError, for what is out of its limits or belongs to the other method.
    """
    from ..config.checks import check_entry
    from ..config.sections import NetworkEntry, Training
    from ..training import from_images

    entry = from_images.ONLINE_ENTRY
    settings = from_images.ONLINE
    if args.pairs is not None:
        entry = from_images.PROTOCOL_ENTRY
        settings = from_images.PROTOCOL

    if args.method == "finetune":
        entry = NetworkEntry(method="finetune", data=entry.data)

    merged = [_with_given(part, args) for part in (entry, settings)]
    entry = load_section(NetworkEntry, merged[0], "command line")
    settings = load_section(Training, merged[1], "command line")
    check_entry("command line: ", entry)

    return entry, settings


def _with_given(section: Any, args: argparse.Namespace) -> dict[str, Any]:
    """A section's values, those of the command line in their place."""
    values = dataclasses.asdict(section)
    for key in METHOD_OPTIONS:
        given = getattr(args, key)
        if key in values and given is not None:
            values[key] = given

    # A phi in the place of the default's fraction.
    if args.phi is not None and "fraction" in values:
        values["fraction"] = None
        values["fraction_of"] = args.fraction_of or "all"

    return {key: value for key, value in values.items() if value is not None}


def _check_options(args: argparse.Namespace) -> None:
    """Refuse options that do not go together."""
    if args.pairs is not None:
        if args.save_network is None:
            raise ValueError("--pairs: expected --save-network N, the adapted network's file")
        if (args.out is None) != (args.image is None):
            raise ValueError("--pairs: expected both --image and --out, or none of them")
        return

    if args.out is None:
        raise ValueError("--out: expected the denoised image's file")

    if args.petsird is not None and args.image is not None:
        raise ValueError("--petsird: --image is reconstructed from it; leave it out")

    folders = args.image is not None and args.image.is_dir()
    if not is_nifti(args.out) and not folders:
        expected = "or, of a DICOM folder as --image, a folder"
        raise ValueError(f"{args.out}: expected an output named *.nii or *.nii.gz, {expected}")


def _work_folder(args: argparse.Namespace) -> Path:
    """Where an unfinished run keeps its files: beside what it makes."""
    made: Path = args.out or args.save_network
    stem = made.name.removesuffix(".gz").removesuffix(".nii").removesuffix(".safetensors")

    return made.with_name(f"{stem}.unfinished")


def _job(args: argparse.Namespace, work: Path, inputs: Inputs, started: float) -> Job:
    from ..networks import weights
    from ..training.from_images import adapted_name
    from ..training.job import Job

    _, parent = weights.load(args.model)
    options = arguments.as_settings(args)
    if inputs.private:
        for key in PATHS:
            options.pop(key, None)

    return Job(
        name=args.name or adapted_name(parent.network),
        dataset=work / "dataset/index.tsv",
        weights=work / (args.save_network.name if args.save_network else "adapted.safetensors"),
        seed=args.seed,
        device=args.device,
        threads=args.threads,
        checkpoint=work / CHECKPOINT,
        options=options,
        domain=inputs.domain,
        started=started,
    )
