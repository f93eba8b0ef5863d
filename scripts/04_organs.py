#!/usr/bin/env python
"""Label the organs and lesions of a study that came as images, on the images' own grid."""

from pathlib import Path

from tgdpet.cli import arguments

IMAGE = "image of the whole scan, Bq/mL; its body is found by a threshold"
LABELS = "organs.nii.gz of a run; or a segmentation (TotalSegmentator, labels.tsv), on any grid"
SPHERES = "lesions x:y:z:diameter,... in RAS mm"


def main() -> None:
    """Parse the command line, label, write."""
    parser = arguments.parser(__doc__ or "")
    option = parser.add_argument
    option("--image", type=Path, required=True, help=IMAGE)
    option("--labels", type=Path, help=LABELS)
    option("--spheres", default="", help=SPHERES)
    option("--out", type=Path, required=True, help="label image to write (.nii.gz)")
    args = parser.parse_args()

    from tgdpet.config.spheres import parse_spheres
    from tgdpet.io import nifti
    from tgdpet.simulation.anatomy.image_organs import organs_of_image

    image = nifti.read_image(args.image)
    organs = organs_of_image(image, args.labels, parse_spheres(args.spheres, "--spheres"))
    nifti.write_labels(args.out, organs, image.affine)


if __name__ == "__main__":
    arguments.run(main)
