#!/usr/bin/env python
"""Build one 2.5D training set: volumes of every study and the table of its slices."""

from pathlib import Path

from tgdpet.cli import arguments
from tgdpet.dataset import index


def main() -> None:
    """Parse the command line, pair the images, write volumes and index."""
    parser = arguments.parser(__doc__)
    parser.add_argument(
        "--pairs",
        nargs="+",
        required=True,
        metavar="STUDY:SAMPLE:NOISY:TARGET",
        help="noisy image and its target",
    )
    parser.add_argument(
        "--validation-fraction", type=float, default=0.0, help="share of the studies held out"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="the run's seed, which decides who is held out"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="index.tsv to write; volumes lie beside it"
    )
    args = parser.parse_args()
    pairs = []
    for text in args.pairs:
        words = text.split(":")
        if len(words) != 4:
            raise ValueError(f"--pairs: expected STUDY:SAMPLE:NOISY:TARGET, got {text!r}")
        pairs.append(index.Pair(words[0], words[1], Path(words[2]), Path(words[3])))
    studies = list(dict.fromkeys(p.study for p in pairs))
    held_out = index.validation_studies(studies, args.validation_fraction, args.seed)
    table = index.build(pairs, held_out, args.out)
    print(
        f"{args.out}: {len(table)} slices of {len(studies)} studies, held out: {', '.join(held_out) or 'none'}"
    )


if __name__ == "__main__":
    arguments.run(main)
