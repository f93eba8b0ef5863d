#!/usr/bin/env python
"""The drop experiment of Fig. 4: denoise one image with the kernels below each KSE threshold
silenced.
"""

from pathlib import Path

from tgdpet.cli import arguments


def main() -> None:
    """Parse the command line, denoise with ever fewer kernels, write images and table."""
    parser = arguments.parser(__doc__ or "")
    parser.add_argument(
        "--network", type=Path, required=True, help="network to test (.safetensors)"
    )
    parser.add_argument("--scores", type=Path, required=True, help="its KSE table")
    parser.add_argument("--image", type=Path, required=True, help="noisy image, Bq/mL")
    parser.add_argument(
        "--reference", type=Path, required=True, help="image of the whole scan, Bq/mL"
    )
    parser.add_argument(
        "--drop-phi", type=float, nargs="+", default=[0.3, 0.4, 0.5, 0.6], help="thresholds"
    )
    parser.add_argument("--out-table", type=Path, required=True, help="table to write (.csv)")
    parser.add_argument(
        "--out-dir", type=Path, required=True, help="folder for the images phi-*.nii.gz"
    )
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to run"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()

    import pandas as pd

    from tgdpet.io import nifti
    from tgdpet.io.files import write_csv
    from tgdpet.networks import drop_kernels, weights
    from tgdpet.networks.score_table import read_scores
    from tgdpet.runtime import device
    from tgdpet.runtime.progress import Progress

    place = device.pick(args.device, args.threads)
    model, card = weights.load(args.network, place)
    noisy, reference = nifti.read_image(args.image), nifti.read_image(args.reference)
    if noisy.data.shape != reference.data.shape:
        raise ValueError(
            f"{args.reference}: grid {reference.data.shape} differs from the image's {noisy.data.shape}"
        )
    scores, scale = read_scores(args.scores, model.scored), card.intensity_scale_bqml
    with Progress(noisy.data.shape[2] * (len(args.drop_phi) + 1), "drop kernels", "slices") as bar:
        rows, volumes = drop_kernels.experiment(
            model, scores, noisy.data, reference.data, args.drop_phi, scale, place, bar.update
        )
    for phi, volume in volumes.items():
        beside = {
            **noisy.sidecar,
            "Network": card.network,
            "DropPhi": phi,
            "inputs": [str(args.image)],
        }
        nifti.write_image(args.out_dir / f"phi-{phi:g}.nii.gz", volume, noisy.affine, beside)
    write_csv(args.out_table, pd.DataFrame([{"network": card.network, **row} for row in rows]))


if __name__ == "__main__":
    arguments.run(main)
