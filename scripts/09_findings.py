"""Stage 9: the paper's findings from one results folder a seed, as a table with effects and 95 %
intervals.

Beside it, the error of every network on the old and on the new task, and every number of the report
with its interval. Says which finding cannot be judged, and why.
"""

from pathlib import Path

from tgdpet.cli import arguments


def main() -> list[Path]:
    """Parse, read, judge, write; the files that were read."""
    parser = arguments.parser(__doc__ or "")
    parser.add_argument(
        "--results", required=True, nargs="+", type=Path, help="results folders, one a seed"
    )
    parser.add_argument("--out", required=True, type=Path, help="table of findings to write, .csv")
    parser.add_argument(
        "--out-gain", type=Path, help="table of errors on the old and new task to write, .csv"
    )
    parser.add_argument(
        "--out-estimates", type=Path, help="table of every measured number with its interval, .csv"
    )
    args = parser.parse_args()

    from tgdpet.evaluation import inputs
    from tgdpet.evaluation.estimates import estimates
    from tgdpet.evaluation.findings import HOLDS, findings, task_errors
    from tgdpet.evaluation.seed_runs import load_runs
    from tgdpet.io.files import write_csv

    runs = load_runs(args.results)
    table, gaps = findings(runs)

    if args.out_gain:
        errors, more = task_errors(runs)
        write_csv(args.out_gain, errors)
        gaps += more

    if args.out_estimates:
        numbers, more = estimates(runs)
        write_csv(args.out_estimates, numbers)
        gaps += more

    write_csv(args.out, table)
    counts = ", ".join(f"{(table.holds == word).sum()} {word}" for word in HOLDS)
    print("\n".join([*gaps, f"{len(table)} claims judged, which hold: {counts}"]))

    return [path for run in runs for path in inputs.files_judged_by(run.root, run.config)]


if __name__ == "__main__":
    arguments.run(main)
