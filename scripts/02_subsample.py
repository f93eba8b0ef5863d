#!/usr/bin/env python
"""Draw noise levels, halves and realisations from one study's list mode (a recipe and its counts;
no copies).
"""

from pathlib import Path

from tgdpet.cli import arguments
from tgdpet.config.roles import ROLES, nominal_s, samples_of
from tgdpet.config.sections import Sampling
from tgdpet.listmode import study_folder, subsample


def main() -> None:
    """Parse the command line, count every sample, check the counts, write the recipe."""
    parser = arguments.parser(__doc__)
    parser.add_argument("--listmode", type=Path, required=True, help="the study's list-mode folder")
    parser.add_argument(
        "--role", required=True, choices=sorted(ROLES), help="decides which samples are drawn"
    )
    parser.add_argument("--seed", type=int, default=0, help="the run's seed")
    parser.add_argument(
        "--scan-s", type=float, help="duration that the scan must have, s (default: what it has)"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads to use")
    parser.add_argument("--out", type=Path, required=True, help="samples.json to write")
    arguments.add_options(parser, Sampling)
    args = parser.parse_args()
    study = study_folder.read(args.listmode)
    scan_s = nominal_s(study.meta["scan_s"], args.scan_s, args.listmode)
    samples = samples_of(args.role, arguments.from_options(args, Sampling), scan_s)
    counts = subsample.count(
        samples, len(study.events), args.seed, study.meta["study"], args.threads
    )
    subsample.check_counts(samples, counts, len(study.events))
    study_folder.write_samples(args.out, study.meta["study"], args.seed, samples, counts)


if __name__ == "__main__":
    arguments.run(main)
