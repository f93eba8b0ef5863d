"""Stage 9: the recommended phi, from the sweep in one results folder a seed, with gain and
forgetting at every phi.
"""

from pathlib import Path

from tgdpet.cli import arguments


def main() -> list[Path]:
    """Parse, read, choose, write; the files that were read."""
    parser = arguments.parser(__doc__ or "")
    parser.add_argument(
        "--results", required=True, nargs="+", type=Path, help="results folders, one a seed"
    )
    parser.add_argument("--out", required=True, type=Path, help="table to write, .csv")
    args = parser.parse_args()

    from tgdpet.evaluation import phi, seed_runs
    from tgdpet.io.files import write_csv

    seed = seed_runs.configs(args.results)[0].seed
    tables = [root / "kse" / "sweep.csv" for root in args.results]
    write_csv(args.out, phi.choose([phi.read_sweep(table) for table in tables], seed))

    return [*(root / "config.yaml" for root in args.results), *tables]


if __name__ == "__main__":
    arguments.run(main)
