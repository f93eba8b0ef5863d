"""Stage 9: bias, noise and error of one study, for its noisy images and every network, as a tidy
CSV.

Beside it, the values in the volumes of interest that intervals are computed from, as
{study}_voi.npz.
"""

from pathlib import Path

from tgdpet.cli import arguments

ROLE = "the study's role (test_lesion, test_bladder, ...)"
REFERENCE = "sample that is the reference: the whole scan"
NETWORKS = "networks to measure besides the noisy input"
PARTIAL = "leave out the measures of organs that are not labelled"
VALUES = "values in volumes of interest to write, .npz"


def main() -> list[Path]:
    """Parse, measure, write."""
    parser = arguments.parser(__doc__ or "")
    option = parser.add_argument
    option("--study", required=True, help="study to measure")
    option("--role", required=True, help=ROLE)
    option("--reference-sample", default="600s", help=REFERENCE)
    option("--organs", required=True, type=Path, help="label image of the organs, .nii.gz")
    option("--recon", required=True, type=Path, help="folder of reconstructed images")
    option("--denoised", required=True, type=Path, help="folder of denoised images, by network")
    option("--networks", nargs="*", default=[], help=NETWORKS)
    option("--protocols", nargs="+", default=["v1", "v2"], help="protocols to measure")
    option("--partial", action="store_true", help=PARTIAL)
    option("--out", required=True, type=Path, help="table to write, .csv")
    option("--out-voi", required=True, type=Path, help=VALUES)
    args = parser.parse_args()

    from tgdpet.constants import ORGANS
    from tgdpet.evaluation import voi_values
    from tgdpet.evaluation.evaluate import evaluate_study
    from tgdpet.evaluation.results import INPUT, find_image
    from tgdpet.io.files import write_csv
    from tgdpet.io.nifti import with_sidecars

    where = (args.organs, ORGANS, args.recon, args.denoised)
    what = (args.networks, args.protocols, args.partial)
    table, values = evaluate_study(args.study, args.role, args.reference_sample, *where, *what)
    voi_values.write_voi_values(args.out_voi, values)
    write_csv(args.out, table)

    images = []
    for protocol, measured in values.protocols.items():
        images.append(find_image(args.recon, args.study, protocol, args.reference_sample))
        for name in measured.networks:
            root = args.recon if name == INPUT else args.denoised / name
            images += [find_image(root, args.study, protocol, s) for s in measured.samples]
    return with_sidecars(images)


if __name__ == "__main__":
    arguments.run(main)
