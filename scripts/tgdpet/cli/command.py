"""The command `tgdpet`: import a scan, adapt a network to it, denoise it, hand a network on."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from .. import __version__
from . import arguments
from .adapt import ADAPT, adapt, adapt_arguments
from .dicom import IMPORT, choice_arguments, import_arguments, import_series
from .import_studies import import_studies
from .networks import NETWORKS, networks_arguments, show_networks
from .outputs import IMAGE_SUFFIXES, check_out, files_of, image_files
from .scans import caution, is_nifti, origin, read_scan, write_like

ABOUT = "Import a scan, adapt a network to it, denoise it, or hand a network to other programs."
NOT_FOR_DIAGNOSIS = (
    "Research software, not for diagnosis. "
    "What is wrong with the input is one line on the screen and exit code 1."
)
DENOISE = """\
Denoise one image of activity, NIfTI or DICOM, with a trained network.

A NIfTI image is 3-D, its voxels finite, its affine in mm. The units stand in the JSON file beside
it (IN.json for IN.nii.gz, "Units": "Bq/mL" or "kBq/mL") or are given with --units. The output is
float32 in Bq/mL, whatever the input was in, on the same grid in the same order of voxels, with the
same affines; the network sees axial slices whatever that order is. The file
OUT.json beside it holds everything that IN.json says, the network's name and where the image came
from (inputs, settings, versions).

IN may be a folder with a PET DICOM series (as `tgdpet import` takes it). With a folder as OUT the
result is a DICOM series, too: same geometry, frame of reference and patient, new UIDs, DERIVED.

A warning says with numbers where the image is far from those that the network was trained on:
voxels, noise, intensities, tracer. Voxels of quite another size are refused.

Examples: tgdpet denoise --model v2-net in.nii.gz out.nii.gz
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
        ("adapt", ADAPT, adapt_arguments),
        ("networks", NETWORKS, networks_arguments),
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

        if name not in ("import", "networks"):
            model_help = "trained network: a file (.safetensors) or a name of `tgdpet networks`"
            option("--model", type=Path, required=True, metavar="M", help=model_help)

        add_arguments(subcommand)
        if name != "networks":
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
    option("--any-voxels", action="store_true", help="take an image of quite other voxels, too")
    choice_arguments(parser)


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, metavar="OUT", help="file to write (.onnx)")


def _run(argv: Sequence[str] | None) -> None:
    args = parser().parse_args(argv)
    subcommands = {
        "import": _import,
        "denoise": _denoise,
        "adapt": adapt,
        "networks": show_networks,
        "export": _export,
    }
    subcommands[args.command](args)


def _denoise(args: argparse.Namespace) -> None:
    from ..io import nifti
    from ..networks import shipped, weights
    from ..networks.denoise import denoise_image
    from ..runtime import device
    from ..runtime.progress import Progress

    started = time.time()
    args.model = shipped.find(args.model)

    to_nifti = is_nifti(args.out)
    if to_nifti or not args.image.is_dir():
        inputs = [*image_files(args.image), *files_of(args.model)]
        outputs = [args.out, nifti.sidecar_path(args.out)]
        check_out(args.out, IMAGE_SUFFIXES, outputs, inputs, args.overwrite)
    else:
        from ..dicom.write import check_output_folder

        check_output_folder(args.out, args.image, args.overwrite)

    chosen = device.pick(args.device, args.threads)
    network = weights.load(args.model, chosen)
    card = network[1]
    scan = read_scan(args.image, args.units, args.series, args.frame)
    caution(card, scan, args.any_voxels)

    with Progress(scan.image.data.shape[2], f"denoise {scan.label}", "slices") as bar:
        clean = denoise_image(scan.image, network, chosen, bar.update)

    described = device.describe(chosen)
    record = origin([scan], [args.model], args, described, started)
    write_like(args.out, scan, clean, card.network, record, args.overwrite)

    size = " x ".join(map(str, scan.image.file_shape))
    took = f"{time.time() - started:.1f} s on {described}"
    print(f"{args.out}: {size} voxels in Bq/mL, by {card.network}, {took}")


def _import(args: argparse.Namespace) -> None:
    from ..io import nifti

    if not is_nifti(args.out):
        import_studies(args)
        return

    outputs = [args.out, nifti.sidecar_path(args.out)]
    check_out(args.out, IMAGE_SUFFIXES, outputs, [args.image], args.overwrite)
    import_series(args)


def _export(args: argparse.Namespace) -> None:
    from ..networks import shipped, weights
    from ..networks.onnx_export import write_onnx

    args.model = shipped.find(args.model)
    check_out(args.out, (".onnx",), [args.out], files_of(args.model), args.overwrite)

    model, card = weights.load(args.model)
    write_onnx(args.out, model, card)

    print(f"{args.out}: {card.network}, intensities divided by {card.intensity_scale_bqml:g} Bq/mL")
