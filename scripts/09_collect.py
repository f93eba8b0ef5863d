"""Stage 9: all studies' metrics in one table."""

from pathlib import Path

from tgdpet.cli import arguments


def main() -> None:
    """Parse, read, concatenate, write."""
    parser = arguments.parser(__doc__ or "")
    parser.add_argument(
        "--tables", required=True, nargs="+", type=Path, help="tables of single studies, .csv"
    )
    parser.add_argument("--out", required=True, type=Path, help="table to write, .csv")
    args = parser.parse_args()

    from tgdpet.evaluation.evaluate import COLUMNS, collect
    from tgdpet.io.files import read_csv, write_csv

    write_csv(args.out, collect([read_csv(path, COLUMNS) for path in args.tables]))


if __name__ == "__main__":
    arguments.run(main)
