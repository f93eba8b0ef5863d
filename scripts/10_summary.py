"""Stage 10: the one screen at the end: Table 1 beside the paper's, where things lie, what to run next."""

from pathlib import Path

from tgdpet import cli


def main() -> None:
    """Parse, read, print."""
    parser = cli.parser(__doc__ or "")
    parser.add_argument("--config", required=True, type=Path, help="resolved configuration, .yaml")
    parser.add_argument("--studies", required=True, type=Path, help="table of studies, .tsv")
    parser.add_argument("--results", required=True, type=Path, help="results folder to read")
    args = parser.parse_args()

    from tgdpet.config import read
    from tgdpet.figures.common import Results
    from tgdpet.studies import read_studies
    from tgdpet.summary import screen

    print(screen(Results(args.results, read(args.config), read_studies(args.studies))))


if __name__ == "__main__":
    cli.run(main)
