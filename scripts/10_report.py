"""Stage 10: every table and figure in one HTML file that opens offline: of one run, or of all seeds
of a study.
"""

from pathlib import Path

from tgdpet.cli import arguments

CAPTIONS = Path(__file__).resolve().parents[1] / "workflow" / "report"


def main() -> list[Path]:
    """Parse, read, build, write; the files that were read."""
    parser = arguments.parser(__doc__ or "")
    parser.add_argument(
        "--results", required=True, type=Path, help="results folder to read, of a run or a study"
    )
    parser.add_argument("--seeds", nargs="+", type=Path, help="results folders of a study's seeds")
    parser.add_argument("--studies", required=True, type=Path, help="table of studies, .tsv")
    parser.add_argument(
        "--captions", type=Path, default=CAPTIONS, help="folder of the captions, one .rst each"
    )
    parser.add_argument("--tables", type=Path, help="folder to write the tables to, each as .html")
    parser.add_argument("--out", required=True, type=Path, help="report to write, .html")
    args = parser.parse_args()

    from tgdpet.config.loading import read_config
    from tgdpet.config.studies import read_studies
    from tgdpet.evaluation.results import Results
    from tgdpet.figures.inputs import report_files
    from tgdpet.io.files import write_text
    from tgdpet.report.report import build_report, table_pages

    studies = read_studies(args.studies)
    runs = [
        Results(run, read_config(run / "config.yaml"), studies)
        for run in args.seeds or [args.results]
    ]

    if args.tables:
        for name, text in table_pages(args.results, args.captions).items():
            write_text(args.tables / f"{name}.html", text)

    write_text(args.out, build_report(args.results, runs, args.captions))

    shown = report_files(args.results, runs)
    return [path for path in shown if path.exists()]


if __name__ == "__main__":
    arguments.run(main)
