#!/usr/bin/env python
"""Bring an image to voxels of another size (images.resample)."""

import time
from pathlib import Path

from tgdpet.cli import arguments


def main() -> None:
    """Parse the command line, resample, write."""
    started = time.time()
    parser = arguments.parser(__doc__ or "")
    option = parser.add_argument
    option("--image", type=Path, required=True, help="image to read, Bq/mL")
    option("--voxel-mm", type=float, nargs=3, required=True, help="voxel size to make, mm")
    option("--out", type=Path, required=True, help="image to write (.nii.gz)")
    args = parser.parse_args()

    from tgdpet.io import files, nifti
    from tgdpet.simulation.anatomy.image_organs import resampled

    image = resampled(nifti.read_image(args.image), args.voxel_mm)

    origin = files.sidecar([args.image], arguments.as_settings(args), None, "cpu", started)
    nifti.write_image(args.out, image.data, image.affine, {**image.sidecar, "provenance": origin})


if __name__ == "__main__":
    arguments.run(main)
