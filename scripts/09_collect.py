"""Stage 9: all studies' metrics in one table."""

from pathlib import Path

from tgdpet.cli import arguments


def main() -> None:
    """Parse, read, concatenate, write."""
    parser = arguments.parser(__doc__ or "")
    option = parser.add_argument
    option("--tables", required=True, nargs="+", type=Path, help="tables of single studies, .csv")
    option("--out", required=True, type=Path, help="table to write, .csv")
    args = parser.parse_args()

    from tgdpet.evaluation.evaluate import collect
    from tgdpet.evaluation.results import METRICS_COLUMNS
    from tgdpet.io.files import read_csv, write_csv

    tables = [read_csv(path, METRICS_COLUMNS) for path in args.tables]
    write_csv(args.out, collect(tables))


if __name__ == "__main__":
    arguments.run(main)
