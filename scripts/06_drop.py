#!/usr/bin/env python
"""The drop experiment of Fig. 4: denoise with the kernels below each KSE threshold silenced."""

from pathlib import Path

from tgdpet.cli import arguments

DEVICES = ("auto", "cpu", "cuda")


def main() -> None:
    """Parse the command line, denoise with ever fewer kernels, write images and table."""
    parser = arguments.parser(__doc__ or "")
    option = parser.add_argument
    option("--network", type=Path, required=True, help="network to test (.safetensors)")
    option("--scores", type=Path, required=True, help="its KSE table")
    option("--image", type=Path, required=True, help="noisy image, Bq/mL")
    option("--reference", type=Path, required=True, help="image of the whole scan, Bq/mL")
    option("--drop-phi", type=float, nargs="+", default=[0.3, 0.4, 0.5, 0.6], help="thresholds")
    option("--out-table", type=Path, required=True, help="table to write (.csv)")
    option("--out-dir", type=Path, required=True, help="folder for the images phi-*.nii.gz")
    option("--device", default="auto", choices=DEVICES, help="where to run")
    option("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()

    import pandas as pd

    from tgdpet.io.files import write_csv
    from tgdpet.io.nifti import read_image, read_like, write_image
    from tgdpet.networks import drop_kernels, weights
    from tgdpet.networks.score_table import read_scores
    from tgdpet.runtime import device
    from tgdpet.runtime.progress import Progress

    chosen = device.pick(args.device, args.threads)
    model, card = weights.load(args.network, chosen)
    noisy = read_image(args.image)
    reference = read_like(args.reference, noisy, args.image)

    scores = read_scores(args.scores, model.scored)
    scale = card.intensity_scale_bqml
    n_slices = reference.shape[2] * (len(args.drop_phi) + 1)
    with Progress(n_slices, "drop kernels", "slices") as bar:
        rows, volumes = drop_kernels.experiment(
            model, scores, noisy.data, reference, args.drop_phi, scale, chosen, bar.update
        )

    noisy.sidecar.pop("provenance", None)  # how the noisy image was made
    for phi, volume in volumes.items():
        more = {"Network": card.network, "DropPhi": phi, "inputs": [str(args.image)]}
        path = args.out_dir / f"phi-{phi:g}.nii.gz"
        write_image(path, volume, noisy.affine, {**noisy.sidecar, **more})
    write_csv(args.out_table, pd.DataFrame([{"network": card.network, **row} for row in rows]))


if __name__ == "__main__":
    arguments.run(main)
