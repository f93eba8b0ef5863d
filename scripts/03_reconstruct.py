#!/usr/bin/env python
"""Reconstruct samples of one study with one protocol: TOF list-mode OSEM to NIfTI in Bq/mL."""

import time
from pathlib import Path

from tgdpet.cli import arguments
from tgdpet.config.sections import ReconProtocol
from tgdpet.io import files, nifti
from tgdpet.listmode import study_folder
from tgdpet.recon import osem
from tgdpet.recon.projectors import on_device
from tgdpet.recon.subsets import DrawnEvents
from tgdpet.runtime.progress import Progress

DEVICE = "where to project; cuda: tgdpet[cuda]"


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
    option("--device", default="cpu", choices=("cpu", "cuda"), help=DEVICE)
    option("--out-dir", type=Path, required=True, help="folder for the images")
    arguments.add_options(parser, ReconProtocol)
    args = parser.parse_args()
    protocol = arguments.from_options(args, ReconProtocol)

    study = study_folder.read_study(args.listmode)
    additive = study_folder.read_additive(study)
    sensitivity, _ = nifti.read_plain(args.sensitivity)
    name, seed, samples = study_folder.read_samples(args.samples)
    samples = [s for s in samples if not args.only or s.name in args.only]

    projector = on_device(args.device, study.scanner, study.grid, args.threads)
    valid = osem.valid_slices(sensitivity)
    drawn = DrawnEvents(projector, samples, study.events, additive, seed, name)
    inputs = [args.samples, args.listmode / "listmode.json", args.sensitivity]
    settings = arguments.as_settings(args)
    n_events = sum(s.fraction for s in samples) * len(study.events) * protocol.iterations
    with Progress(n_events, f"reconstruct {name} {args.protocol}", "events") as bar:
        for sample in samples:
            started = time.time()
            subsets = drawn.subsets(sample, protocol.subsets)
            scan_s = study.meta["effective_s"] * sample.fraction
            image = osem.from_subsets(projector, subsets, sensitivity, scan_s, protocol, bar.update)
            beside = study_folder.recon_sidecar(study.meta, sample, args.protocol, protocol, valid)
            beside["provenance"] = files.sidecar(inputs, settings, seed, args.device, started)
            path = args.out_dir / nifti.image_name(name, args.protocol, sample.name)
            nifti.write_image(path, image, study.affine, beside)


if __name__ == "__main__":
    arguments.run(main)
