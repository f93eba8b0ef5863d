"""Stage 9: bias, noise and error of one study, for its noisy images and every network, as a tidy
CSV.

Beside it, the values in the volumes of interest that intervals are computed from, as
{study}_voi.npz.
"""

from pathlib import Path

from tgdpet.cli import arguments


def main() -> None:
    """Parse, measure, write."""
    parser = arguments.parser(__doc__ or "")
    parser.add_argument("--study", required=True, help="study to measure")
    parser.add_argument(
        "--role", required=True, help="the study's role (test_lesion, test_bladder, ...)"
    )
    parser.add_argument(
        "--reference-sample", default="600s", help="sample that is the reference: the whole scan"
    )
    parser.add_argument(
        "--organs", required=True, type=Path, help="label image of the organs, .nii.gz"
    )
    parser.add_argument("--recon", required=True, type=Path, help="folder of reconstructed images")
    parser.add_argument(
        "--denoised", required=True, type=Path, help="folder of denoised images, by network"
    )
    parser.add_argument(
        "--networks", nargs="*", default=[], help="networks to measure besides the noisy input"
    )
    parser.add_argument("--out", required=True, type=Path, help="table to write, .csv")
    parser.add_argument(
        "--out-voi", required=True, type=Path, help="values in volumes of interest to write, .npz"
    )
    args = parser.parse_args()

    from tgdpet.constants import ORGANS
    from tgdpet.evaluation import voi_values
    from tgdpet.evaluation.evaluate import evaluate_study
    from tgdpet.io.files import write_csv

    table, values = evaluate_study(
        args.study,
        args.role,
        args.reference_sample,
        args.organs,
        ORGANS,
        args.recon,
        args.denoised,
        args.networks,
    )
    voi_values.write(args.out_voi, values)
    write_csv(args.out, table)


if __name__ == "__main__":
    arguments.run(main)
