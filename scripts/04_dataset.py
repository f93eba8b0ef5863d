#!/usr/bin/env python
"""Build one 2.5D training set: volumes of every study and the table of its slices."""

from pathlib import Path

from tgdpet.cli import arguments
from tgdpet.dataset import index

PAIR = "STUDY:SAMPLE:NOISY:TARGET"
HELD_OUT = "share of the studies held out"
SEED = "the run's seed, which decides who is held out"


def main() -> list[Path]:
    """Parse the command line, pair the images, write volumes and index."""
    parser = arguments.parser(__doc__)
    option = parser.add_argument
    option("--pairs", nargs="+", required=True, metavar=PAIR, help="noisy image and its target")
    option("--validation-fraction", type=float, default=0.0, help=HELD_OUT)
    option("--seed", type=int, default=0, help=SEED)
    option("--out", type=Path, required=True, help="index.tsv to write; volumes lie beside it")
    args = parser.parse_args()

    pairs = [parse_pair(text) for text in args.pairs]
    studies = list(dict.fromkeys(pair.study for pair in pairs))
    held_out = index.validation_studies(studies, args.validation_fraction, args.seed)

    table = index.build(pairs, held_out, args.out)
    size = f"{len(table)} slices of {len(studies)} studies"
    print(f"{args.out}: {size}, held out: {', '.join(held_out) or 'none'}")

    return [path for pair in pairs for path in (pair.noisy, pair.target)]


def parse_pair(text: str) -> index.Pair:
    """The pair that one word of `--pairs` names."""
    parts = text.split(":")
    if len(parts) != 4:
        raise ValueError(f"--pairs: expected {PAIR}, got {text!r}")

    study, sample, noisy, target = parts
    return index.Pair(study, sample, Path(noisy), Path(target))


if __name__ == "__main__":
    arguments.run(main)
