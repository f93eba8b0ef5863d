"""The command `tgdpet`: denoise an image by hand, hand a network to other programs."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

from .. import __version__
from . import arguments

ABOUT = "Denoise an image by hand, or hand a network to other programs."
WARNING = "Research software, not for diagnosis. What is wrong with the input is one line on the screen and exit code 1."
DENOISE = """\
Denoise one NIfTI image of activity with a trained network.

The image is 3-D, its voxels finite, its affine in mm. The units stand in the JSON file beside it (IN.json for
IN.nii.gz, "Units": "Bq/mL" or "kBq/mL") or are given with --units. The output is float32 in Bq/mL, whatever the input
was in, on the same grid with the same affine; the file OUT.json beside it holds everything that IN.json says, the
network's name and where the image came from (inputs, settings, versions).

Example: tgdpet denoise --model results/models/v2-net.safetensors in.nii.gz out.nii.gz"""
EXPORT = """\
Write a trained network as ONNX (pip install 'tgdpet[onnx]').

The graph takes and gives (batch, 3, height, width) float32; batch, height and width are free. The 3 are neighbouring
slices, in Bq/mL divided by the network's intensity scale. The scale, the channels' meaning and the units are in the
file's metadata."""


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line `words`, that of the program by default; errors are one line and exit
    code 1.
    """
    arguments.run(lambda: _run(words))


def parser() -> argparse.ArgumentParser:
    """The parser of the command and its subcommands."""
    out = argparse.ArgumentParser(prog="tgdpet", description=ABOUT, epilog=WARNING)
    out.add_argument("--version", action="version", version=f"tgdpet {__version__}")
    commands = out.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text, add_arguments in (
        ("denoise", DENOISE, _denoise_arguments),
        ("export", EXPORT, _export_arguments),
    ):
        one = commands.add_parser(
            name, help=text.splitlines()[0], description=text, epilog=WARNING,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        one.add_argument(
            "--model", type=Path, required=True, metavar="M", help="trained network (.safetensors)"
        )
        add_arguments(one)
        one.add_argument("--overwrite", action="store_true", help="replace an output that exists")
    return out


def _denoise_arguments(out: argparse.ArgumentParser) -> None:
    out.add_argument("image", type=Path, metavar="IN", help="noisy image (.nii or .nii.gz)")
    out.add_argument(
        "out", type=Path, metavar="OUT", help="denoised image to write (.nii or .nii.gz)"
    )
    out.add_argument(
        "--units", help="the input's units, where no JSON file says them: Bq/mL or kBq/mL"
    )
    out.add_argument(
        "--device",
        default="auto",
        choices=("auto", "cpu", "cuda"),
        help="where to run; auto: a GPU if there is one",
    )
    out.add_argument("--threads", type=int, help="CPU threads; all cores if not given")


def _export_arguments(out: argparse.ArgumentParser) -> None:
    out.add_argument("out", type=Path, metavar="OUT", help="file to write (.onnx)")


def _run(words: Sequence[str] | None) -> None:
    args = parser().parse_args(words)
    {"denoise": _denoise, "export": _export}[args.command](args)


def _denoise(args: argparse.Namespace) -> None:
    from ..io import nifti
    from ..networks import weights
    from ..networks.denoise import write_denoised
    from ..runtime import device
    from ..runtime.progress import Progress

    started = time.monotonic()
    if args.image.is_dir():
        raise IsADirectoryError(f"{args.image}: expected an image, got a folder")
    beside = nifti.sidecar_path
    read = [args.image, beside(args.image), *_files_of(args.model)]
    _check_out(args.out, (".nii", ".nii.gz"), [args.out, beside(args.out)], read, args.overwrite)
    place = device.pick(args.device, args.threads)
    network = weights.load(args.model, place)
    noisy = nifti.read_converted(args.image, args.units)
    with Progress(noisy.data.shape[2], f"denoise {args.image.name}", "slices") as bar:
        write_denoised(
            args.out,
            noisy,
            network,
            place,
            [args.image, args.model],
            arguments.as_settings(args),
            bar.update,
        )
    size = " x ".join(map(str, noisy.data.shape))
    seconds = time.monotonic() - started
    print(
        f"{args.out}: {size} voxels in Bq/mL, by {network[1].network}, {seconds:.1f} s on {device.describe(place)}"
    )


def _export(args: argparse.Namespace) -> None:
    from ..networks import weights
    from ..networks.onnx_export import write_onnx

    _check_out(args.out, (".onnx",), [args.out], _files_of(args.model), args.overwrite)
    model, card = weights.load(args.model)
    write_onnx(args.out, model, card)
    print(f"{args.out}: {card.network}, intensities divided by {card.intensity_scale_bqml:g} Bq/mL")


def _files_of(model: Path) -> list[Path]:
    """A network and the files beside it, which an output of the same name would replace."""
    return [model, *(model.with_suffix(s) for s in (".json", ".md") if model.name)]


def _check_out(
    out: Path,
    suffixes: tuple[str, ...],
    written: Sequence[Path],
    read: Sequence[Path],
    overwrite: bool,
) -> None:
    """Refuse, before any work, an output that cannot be written or that would take the place of
    something.
    """
    if not out.name.endswith(suffixes):
        raise ValueError(
            f"{out}: expected an output named {' or '.join('*' + s for s in suffixes)}"
        )
    if not out.parent.is_dir():
        raise FileNotFoundError(f"{out}: the folder {out.parent} does not exist")
    if not os.access(out.parent, os.W_OK):
        raise PermissionError(f"{out}: the folder {out.parent} cannot be written to")
    for path in written:
        for source in read:
            if path.exists() and source.exists() and path.samefile(source):
                raise ValueError(
                    f"{path}: is the input {source} and would be overwritten; choose another output"
                )
        if path.is_dir():
            raise IsADirectoryError(f"{path}: is a folder")
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path}: exists; give --overwrite to replace it")
