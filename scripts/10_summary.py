"""Stage 10: the one screen at the end: Table 1 beside the paper's, where things lie, what to run next."""

from pathlib import Path

from tgdpet import cli


def main() -> None:
    """Parse, read, print."""
    parser = cli.parser(__doc__ or "")
    parser.add_argument("--results", type=Path, default=Path("results"), help="results folder to read")
    args = parser.parse_args()

    from tgdpet.config import read
    from tgdpet.figures.common import Results
    from tgdpet.studies import read_studies
    from tgdpet.summary import screen

    config = read(args.results / "config.yaml")
    print(screen(Results(args.results, config, read_studies(config.studies))))


if __name__ == "__main__":
    cli.run(main)
