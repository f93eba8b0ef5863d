#!/usr/bin/env python
"""Denoise images with trained networks; names, affine and sidecar are carried over."""

from pathlib import Path

from tgdpet.cli import arguments

DEVICES = ("auto", "cpu", "cuda")
NETWORK = "networks to use (.safetensors)"
OUT_DIR = "folder of each network to write to, under the same names"


def main() -> None:
    """Parse the command line, denoise each image with one network after the other, write each."""
    parser = arguments.parser(__doc__ or "")
    option = parser.add_argument
    option("--network", type=Path, nargs="+", required=True, help=NETWORK)
    option("--images", type=Path, nargs="+", required=True, help="noisy images, NIfTI in Bq/mL")
    option("--out-dir", type=Path, nargs="+", required=True, help=OUT_DIR)
    option("--device", default="auto", choices=DEVICES, help="where to run")
    option("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()

    from tgdpet.io import nifti
    from tgdpet.networks import weights
    from tgdpet.networks.denoise import write_denoised
    from tgdpet.runtime import device
    from tgdpet.runtime.progress import Progress

    check_folders(args.network, args.images, args.out_dir)

    chosen = device.pick(args.device, args.threads)
    networks = [weights.load(path, chosen) for path in args.network]
    settings = arguments.as_settings(args)

    n_written = len(args.images) * len(networks)
    with Progress(n_written, f"denoise {args.images[0].name}", "images") as bar:
        for path in args.images:
            noisy = nifti.read_image(path)

            for file, network, folder in zip(args.network, networks, args.out_dir, strict=True):
                inputs = [path, file]
                write_denoised(folder / path.name, noisy, network, chosen, inputs, settings)
                bar.update(1)


def check_folders(networks: list[Path], images: list[Path], folders: list[Path]) -> None:
    """Raise ValueError where an output would overwrite an image or another output."""
    if len(folders) != len(networks):
        expected = f"expected {len(networks)}, one for each --network"
        raise ValueError(f"--out-dir: {expected}, got {len(folders)}")

    _check_each_once("--images", [path.name for path in images])
    _check_each_once("--out-dir", [str(folder.resolve()) for folder in folders])

    read = {path.resolve().parent: path.name for path in images}
    for folder in folders:
        if name := read.get(folder.resolve()):
            would = f"is the folder of {name}, which would be overwritten"
            raise ValueError(f"--out-dir: {folder} {would}")


def _check_each_once(option: str, names: list[str]) -> None:
    if len(set(names)) < len(names):
        twice = max(names, key=names.count)
        raise ValueError(f"{option}: {twice} comes twice; one would overwrite the other")


if __name__ == "__main__":
    arguments.run(main)
