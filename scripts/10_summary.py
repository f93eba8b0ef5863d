"""Stage 10: the one screen at the end: Table 1 beside the paper's, where things lie, what to run
next.
"""

from pathlib import Path

from tgdpet.cli import arguments


def main() -> None:
    """Parse, read, print."""
    parser = arguments.parser(__doc__ or "")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="results folder to read"
    )
    args = parser.parse_args()

    from tgdpet.config.loading import read_config
    from tgdpet.config.studies import read_studies
    from tgdpet.evaluation.results import Results
    from tgdpet.report.summary import screen

    config = read_config(args.results / "config.yaml")
    results = Results(args.results, config, read_studies(config.studies))
    print(screen(results))


if __name__ == "__main__":
    arguments.run(main)
