"""Stage 10: one figure as .png and .pdf, with the .csv of what it shows."""

from pathlib import Path

from tgdpet.cli import arguments
from tgdpet.figures import FIGURES


def main() -> list[Path]:
    """Parse, read, draw, write; the files that were read."""
    parser = arguments.parser(__doc__ or "")
    parser.add_argument("figure", choices=FIGURES, help="figure to draw")
    parser.add_argument("--config", required=True, type=Path, help="resolved configuration, .yaml")
    parser.add_argument("--studies", required=True, type=Path, help="table of studies, .tsv")
    parser.add_argument("--results", required=True, type=Path, help="results folder to read")
    parser.add_argument("--out", required=True, type=Path, help="file to write, without suffix")
    args = parser.parse_args()

    from tgdpet.config.loading import read_config
    from tgdpet.config.studies import read_studies
    from tgdpet.evaluation.results import Results
    from tgdpet.figures.inputs import files_drawn_from
    from tgdpet.figures.make import make

    results = Results(args.results, read_config(args.config), read_studies(args.studies))
    make(args.figure, results, args.out)

    return files_drawn_from(args.figure, results)


if __name__ == "__main__":
    arguments.run(main)
