#!/usr/bin/env python
"""Reconstruct samples of one study with one protocol: TOF list-mode OSEM to NIfTI in Bq/mL."""

from pathlib import Path

from tgdpet.cli import arguments
from tgdpet.config.sections import ReconProtocol
from tgdpet.listmode import study_folder
from tgdpet.recon import projectors, study_images

DEVICE = "where to project; auto: a GPU if numba-cuda finds one (tgdpet[cuda])"


def main() -> None:
    """Parse the command line, reconstruct sample after sample, write each."""
    parser = arguments.parser(__doc__)
    option = parser.add_argument
    option("--listmode", type=Path, required=True, help="the study's list-mode folder")
    option("--samples", type=Path, required=True, help="samples.json of stage 2")
    option("--sensitivity", type=Path, required=True, help="sensitivity image of the study")
    option("--only", nargs="+", metavar="SAMPLE", help="samples to reconstruct (default: all)")
    option("--protocol", required=True, help="the protocol's name, for file names")
    option("--threads", type=int, default=1, help="threads to use")
    option("--device", default="auto", choices=("auto", "cpu", "cuda"), help=DEVICE)
    option("--out-dir", type=Path, required=True, help="folder for the images")
    arguments.add_options(parser, ReconProtocol)
    args = parser.parse_args()
    protocol = arguments.from_options(args, ReconProtocol)

    study = study_folder.read_study(args.listmode)
    _, seed, samples = study_folder.read_samples(args.samples)
    samples = [s for s in samples if not args.only or s.name in args.only]

    study_images.write_images(
        study,
        samples,
        seed,
        args.sensitivity,
        protocol,
        args.protocol,
        args.out_dir,
        threads=args.threads,
        device=projectors.pick(args.device),
        inputs=[args.samples, args.sensitivity, *study_folder.reconstructed_from(args.listmode)],
        settings=arguments.as_settings(args),
    )


if __name__ == "__main__":
    arguments.run(main)
