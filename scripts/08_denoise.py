#!/usr/bin/env python
"""Denoise images with a trained network; names, affine and sidecar are carried over."""

from pathlib import Path

from tgdpet.cli import arguments

DEVICES = ("auto", "cpu", "cuda")
OUT_DIR = "folder to write to, under the same names"


def main() -> None:
    """Parse the command line, denoise one image after the other, write each."""
    parser = arguments.parser(__doc__ or "")
    option = parser.add_argument
    option("--network", type=Path, required=True, help="network to use (.safetensors)")
    option("--images", type=Path, nargs="+", required=True, help="noisy images, NIfTI in Bq/mL")
    option("--out-dir", type=Path, required=True, help=OUT_DIR)
    option("--device", default="auto", choices=DEVICES, help="where to run")
    option("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()

    from tgdpet.io import nifti
    from tgdpet.networks import weights
    from tgdpet.networks.denoise import write_denoised
    from tgdpet.runtime import device
    from tgdpet.runtime.progress import Progress

    names = [path.name for path in args.images]
    if len(set(names)) < len(names):
        twice = max(names, key=names.count)
        raise ValueError(f"--images: {twice} comes twice; one would overwrite the other")

    chosen = device.pick(args.device, args.threads)
    network = weights.load(args.network, chosen)
    settings = arguments.as_settings(args)
    with Progress(len(names), f"denoise {network[1].network}", "images") as bar:
        for path in args.images:
            if path.resolve().parent == args.out_dir.resolve():
                would = f"is the folder of {path.name}, which would be overwritten"
                raise ValueError(f"--out-dir: {args.out_dir} {would}")

            noisy = nifti.read_image(path)
            inputs = [path, args.network]
            write_denoised(args.out_dir / path.name, noisy, network, chosen, inputs, settings)
            bar.update(1)


if __name__ == "__main__":
    arguments.run(main)
