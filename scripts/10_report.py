"""Stage 10: every table and figure in one HTML file that opens offline."""

from pathlib import Path

from tgdpet import cli

CAPTIONS = Path(__file__).resolve().parents[1] / "workflow" / "report"


def main() -> None:
    """Parse, read, build, write."""
    parser = cli.parser(__doc__ or "")
    parser.add_argument("--config", required=True, type=Path, help="resolved configuration, .yaml")
    parser.add_argument("--studies", required=True, type=Path, help="table of studies, .tsv")
    parser.add_argument("--results", required=True, type=Path, help="results folder to read")
    parser.add_argument("--captions", type=Path, default=CAPTIONS, help="folder of the captions, one .rst a figure")
    parser.add_argument("--out", required=True, type=Path, help="report to write, .html")
    args = parser.parse_args()

    from tgdpet.config import read
    from tgdpet.figures.common import Results
    from tgdpet.files import write_text
    from tgdpet.report import build
    from tgdpet.studies import read_studies

    write_text(args.out, build(Results(args.results, read(args.config), read_studies(args.studies)), args.captions))


if __name__ == "__main__":
    cli.run(main)
