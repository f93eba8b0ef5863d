#!/usr/bin/env python
"""Score every kernel of a network by its sparsity and entropy (KSE), as the layers that read it see
it.
"""

from pathlib import Path

from tgdpet.cli import arguments


def main() -> None:
    """Parse the command line, score, write the table."""
    parser = arguments.parser(__doc__ or "")
    option = parser.add_argument
    option("--network", type=Path, required=True, help="network to score (.safetensors)")
    option("--k", type=int, default=5, help="nearest neighbours in the density metric")
    option("--alpha", type=float, default=1.0, help="weight of the entropy")
    option("--out", type=Path, required=True, help="table to write (.csv)")
    args = parser.parse_args()

    from tgdpet.io.files import write_csv
    from tgdpet.networks import weights
    from tgdpet.training import jobs

    model, card = weights.load(args.network)
    table = jobs.score_table(model, args.k, args.alpha)
    write_csv(args.out, table)

    redundant = table[table["kse"] < 0.3]
    print(
        f"{card.network}: {len(table)} kernels, {len(redundant)} with a KSE below 0.3, "
        f"of these {redundant['alive'].sum()} alive"
    )


if __name__ == "__main__":
    arguments.run(main)
