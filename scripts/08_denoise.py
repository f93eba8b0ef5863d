#!/usr/bin/env python
"""Denoise images with a trained network; names, affine and sidecar are carried over."""

from pathlib import Path

from tgdpet.cli import arguments


def main() -> None:
    """Parse the command line, denoise one image after the other, write each."""
    parser = arguments.parser(__doc__ or "")
    parser.add_argument("--network", type=Path, required=True, help="network to use (.safetensors)")
    parser.add_argument(
        "--images", type=Path, nargs="+", required=True, help="noisy images, NIfTI in Bq/mL"
    )
    parser.add_argument(
        "--out-dir", type=Path, required=True, help="folder to write to, under the same names"
    )
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to run"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()

    from tgdpet.io import nifti
    from tgdpet.networks import weights
    from tgdpet.networks.denoise import write_denoised
    from tgdpet.runtime import device
    from tgdpet.runtime.progress import Progress

    names = [path.name for path in args.images]
    if len(set(names)) < len(names):
        raise ValueError(
            f"--images: {max(names, key=names.count)} comes twice; one would overwrite the other"
        )
    place = device.pick(args.device, args.threads)
    network = weights.load(args.network, place)
    with Progress(len(args.images), f"denoise {network[1].network}", "images") as bar:
        for path in args.images:
            if path.resolve().parent == args.out_dir.resolve():
                raise ValueError(
                    f"--out-dir: {args.out_dir} is the folder of {path.name}, which would be overwritten"
                )
            noisy, inputs = nifti.read_image(path), [path, args.network]
            write_denoised(
                args.out_dir / path.name, noisy, network, place, inputs, arguments.as_settings(args)
            )
            bar.update(1)


if __name__ == "__main__":
    arguments.run(main)
