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
    from tgdpet.networks.denoise import check_folders, write_denoised
    from tgdpet.runtime import device
    from tgdpet.runtime.progress import Progress

    check_folders(args.network, args.images, args.out_dir)

    chosen = device.pick(args.device, args.threads)
    networks = [weights.load(path, chosen) for path in args.network]
    settings = arguments.as_settings(args)

    names = ", ".join(card.network for _, card in networks)
    n_written = len(args.images) * len(networks)
    with Progress(n_written, f"denoise with {names}", "images") as bar:
        for path in args.images:
            noisy = nifti.read_image(path)

            for file, network, folder in zip(args.network, networks, args.out_dir, strict=True):
                inputs = [path, file]
                write_denoised(folder / path.name, noisy, network, chosen, inputs, settings)
                bar.update(1)


if __name__ == "__main__":
    arguments.run(main)
