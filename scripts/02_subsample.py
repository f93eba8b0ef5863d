#!/usr/bin/env python
"""Draw noise levels, halves and realisations from one study's list mode (a recipe and its counts;
no copies).
"""

from pathlib import Path

from tgdpet.cli import arguments
from tgdpet.config.roles import ROLES, nominal_s, samples_of
from tgdpet.config.sections import Sampling
from tgdpet.listmode import study_folder, subsample

ROLE = "decides which samples are drawn"
SCAN_S = "duration that the scan must have, s (default: what it has)"


def main() -> list[Path]:
    """Parse the command line, count every sample, check the counts, write the recipe."""
    parser = arguments.parser(__doc__)
    option = parser.add_argument
    option("--listmode", type=Path, required=True, help="the study's list-mode folder")
    option("--role", required=True, choices=sorted(ROLES), help=ROLE)
    option("--seed", type=int, default=0, help="the run's seed")
    option("--scan-s", type=float, help=SCAN_S)
    option("--threads", type=int, default=1, help="threads to use")
    option("--out", type=Path, required=True, help="samples.json to write")
    arguments.add_options(parser, Sampling)
    args = parser.parse_args()

    study = study_folder.read(args.listmode)
    name = study.meta["study"]
    n_events = len(study.events)

    scan_s = nominal_s(study.meta["scan_s"], args.scan_s, args.listmode)
    samples = samples_of(args.role, arguments.from_options(args, Sampling), scan_s)

    counts = subsample.count(samples, n_events, args.seed, name, args.threads)
    subsample.check_counts(samples, counts, n_events)
    study_folder.write_samples(args.out, name, args.seed, samples, counts)

    return study_folder.files_read(args.listmode)


if __name__ == "__main__":
    arguments.run(main)
