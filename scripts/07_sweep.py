#!/usr/bin/env python
"""What each phi of a sweep gains and forgets on studies held out of training, and what dropping
below it changes.
"""

from pathlib import Path

from tgdpet.cli import arguments
from tgdpet.config.sections import Training

DEVICES = ("auto", "cpu", "cuda")
BASE = "network that all started from (.safetensors)"
PHI = "thresholds; inf: plain fine-tuning"


def main() -> None:
    """Parse the command line, read the networks, measure, write the table."""
    parser = arguments.parser(__doc__ or "")
    option = parser.add_argument
    option("--base", type=Path, required=True, help=BASE)
    option("--scores", type=Path, required=True, help="its KSE table")
    option("--phi", type=float, nargs="+", required=True, help=PHI)
    option("--networks", type=Path, nargs="+", required=True, help="the network retrained at each")
    option("--old", type=Path, required=True, help="index.tsv of the old task")
    option("--new", type=Path, required=True, help="index.tsv of the new task")
    option("--image", type=Path, required=True, help="noisy image to drop kernels on, Bq/mL")
    option("--reference", type=Path, required=True, help="image of the whole scan, Bq/mL")
    option("--seed", type=int, default=0, help="the run's seed")
    option("--device", default="auto", choices=DEVICES, help="where to run")
    option("--threads", type=int, default=1, help="CPU threads")
    option("--out", type=Path, required=True, help="table to write (.csv)")
    arguments.add_options(parser, Training)
    args = parser.parse_args()

    settings = arguments.from_options(args, Training)
    if len(args.phi) != len(args.networks):
        expected = f"expected {len(args.phi)}, one for each --phi"
        raise ValueError(f"--networks: {expected}, got {len(args.networks)}")

    from tgdpet.io.files import write_csv
    from tgdpet.runtime import device
    from tgdpet.training.sweep import Files, measure

    networks = dict(zip(args.phi, args.networks, strict=True))
    inputs = Files(args.base, args.scores, networks, args.old, args.new, args.image, args.reference)
    chosen = device.pick(args.device, args.threads)
    write_csv(args.out, measure(inputs, settings, args.seed, chosen))


if __name__ == "__main__":
    arguments.run(main)
