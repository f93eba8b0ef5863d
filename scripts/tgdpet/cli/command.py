"""The command `tgdpet`: import a scan, denoise it, hand a network to other programs."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

from .. import __version__
from . import arguments
from .dicom import (
    IMPORT,
    choice_arguments,
    denoise_series,
    import_arguments,
    import_series,
    is_nifti,
)

ABOUT = "Import a scan, denoise an image, or hand a network to other programs."
NOT_FOR_DIAGNOSIS = (
    "Research software, not for diagnosis. "
    "What is wrong with the input is one line on the screen and exit code 1."
)
DENOISE = """\
Denoise one image of activity, NIfTI or DICOM, with a trained network.

A NIfTI image is 3-D, its voxels finite, its affine in mm. The units stand in the JSON file beside
it (IN.json for IN.nii.gz, "Units": "Bq/mL" or "kBq/mL") or are given with --units. The output is
float32 in Bq/mL, whatever the input was in, on the same grid with the same affine; the file
OUT.json beside it holds everything that IN.json says, the network's name and where the image came
from (inputs, settings, versions).

IN may be a folder with a PET DICOM series (as `tgdpet import` takes it). With a folder as OUT the
result is a DICOM series, too: same geometry, frame of reference and patient, new UIDs, DERIVED.

Examples: tgdpet denoise --model results/models/v2-net.safetensors in.nii.gz out.nii.gz
          tgdpet denoise --model results/models/v2-net.safetensors dicom/ denoised/"""
EXPORT = """\
Write a trained network as ONNX (pip install 'tgdpet[onnx]').

The graph takes and gives (batch, 3, height, width) float32; batch, height and width are free. The 3
are neighbouring slices, in Bq/mL divided by the network's intensity scale. The scale, the channels'
meaning and the units are in the file's metadata."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line `argv`, that of the program by default; errors are one line and exit
    code 1.
    """
    arguments.run(lambda: _run(argv))


def parser() -> argparse.ArgumentParser:
    """The parser of the command and its subcommands."""
    program = argparse.ArgumentParser(prog="tgdpet", description=ABOUT, epilog=NOT_FOR_DIAGNOSIS)
    program.add_argument("--version", action="version", version=f"tgdpet {__version__}")
    commands = program.add_subparsers(dest="command", required=True, metavar="COMMAND")

    subcommands = (
        ("import", IMPORT, import_arguments),
        ("denoise", DENOISE, _denoise_arguments),
        ("export", EXPORT, _export_arguments),
    )
    for name, description, add_arguments in subcommands:
        subcommand = commands.add_parser(
            name,
            help=description.splitlines()[0],
            description=description,
            epilog=NOT_FOR_DIAGNOSIS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        option = subcommand.add_argument

        if name != "import":
            model_help = "trained network (.safetensors)"
            option("--model", type=Path, required=True, metavar="M", help=model_help)

        arguments.read_plain_numbers(subcommand)
        add_arguments(subcommand)
        option("--overwrite", action="store_true", help="replace an output that exists")

    return program


def _denoise_arguments(parser: argparse.ArgumentParser) -> None:
    option = parser.add_argument
    image_help = "noisy image (.nii or .nii.gz), or a folder with a DICOM series"
    out_help = "denoised image to write (.nii or .nii.gz); of DICOM, a folder for a series"
    option("image", type=Path, metavar="IN", help=image_help)
    option("out", type=Path, metavar="OUT", help=out_help)
    option("--units", help="the input's units, where no JSON file says them: Bq/mL or kBq/mL")

    devices = ("auto", "cpu", "cuda")
    device_help = "where to run; auto: a GPU if there is one"
    option("--device", default="auto", choices=devices, help=device_help)
    option("--threads", type=int, help="CPU threads; all cores if not given")
    choice_arguments(parser)


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, metavar="OUT", help="file to write (.onnx)")


def _run(argv: Sequence[str] | None) -> None:
    args = parser().parse_args(argv)
    subcommand = {"import": _import, "denoise": _denoise, "export": _export}[args.command]
    subcommand(args)


def _denoise(args: argparse.Namespace) -> None:
    from ..io import nifti
    from ..networks import weights
    from ..networks.denoise import write_denoised
    from ..runtime import device
    from ..runtime.progress import Progress

    started = time.monotonic()
    if args.image.is_dir():
        _denoise_dicom(args)
        return

    if args.series is not None or args.frame is not None:
        raise ValueError(f"{args.image}: --series and --frame choose among DICOM files of a folder")

    inputs = [args.image, nifti.sidecar_path(args.image), *_files_of(args.model)]
    outputs = [args.out, nifti.sidecar_path(args.out)]
    _check_out(args.out, (".nii", ".nii.gz"), outputs, inputs, args.overwrite)

    chosen = device.pick(args.device, args.threads)
    network = weights.load(args.model, chosen)
    noisy = nifti.read_converted(args.image, args.units)

    n_slices = noisy.data.shape[2]
    sources = [args.image, args.model]
    settings = arguments.as_settings(args)
    with Progress(n_slices, f"denoise {args.image.name}", "slices") as bar:
        write_denoised(args.out, noisy, network, chosen, sources, settings, bar.update)

    card = network[1]
    size = " x ".join(map(str, noisy.data.shape))
    seconds = time.monotonic() - started
    took = f"{seconds:.1f} s on {device.describe(chosen)}"
    print(f"{args.out}: {size} voxels in Bq/mL, by {card.network}, {took}")


def _denoise_dicom(args: argparse.Namespace) -> None:
    from ..io import nifti

    if args.units is not None:
        raise ValueError(f"{args.image}: --units: a DICOM series says its units itself")

    if is_nifti(args.out):
        outputs = [args.out, nifti.sidecar_path(args.out)]
        _check_out(args.out, (".nii", ".nii.gz"), outputs, _files_of(args.model), args.overwrite)

    print(denoise_series(args))


def _import(args: argparse.Namespace) -> None:
    from ..io import nifti

    outputs = [args.out, nifti.sidecar_path(args.out)]
    _check_out(args.out, (".nii", ".nii.gz"), outputs, [args.image], args.overwrite)
    import_series(args)


def _export(args: argparse.Namespace) -> None:
    from ..networks import weights
    from ..networks.onnx_export import write_onnx

    _check_out(args.out, (".onnx",), [args.out], _files_of(args.model), args.overwrite)

    model, card = weights.load(args.model)
    write_onnx(args.out, model, card)

    print(f"{args.out}: {card.network}, intensities divided by {card.intensity_scale_bqml:g} Bq/mL")


def _files_of(model: Path) -> list[Path]:
    """A network and the files beside it, which an output of the same name would replace."""
    beside = [model.with_suffix(suffix) for suffix in (".json", ".md") if model.name]

    return [model, *beside]


def _check_out(
    out: Path,
    suffixes: tuple[str, ...],
    outputs: Sequence[Path],
    inputs: Sequence[Path],
    overwrite: bool,
) -> None:
    """Refuse, before any work, an output that cannot be written or that would take the place of
    something.
    """
    if not out.name.endswith(suffixes):
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
