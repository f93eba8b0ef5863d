"""Stage 9: the paper's findings from one results folder a seed, as a table with effects and 95 % intervals.

Beside it, the error of every network on the old and on the new task, and every number of the report with its interval.
Says which finding cannot be judged, and why.
"""

from pathlib import Path

from tgdpet import cli


def main() -> None:
    """Parse, read, judge, write."""
    parser = cli.parser(__doc__ or "")
    parser.add_argument("--results", required=True, nargs="+", type=Path, help="results folders, one a seed")
    parser.add_argument("--out", required=True, type=Path, help="table of findings to write, .csv")
    parser.add_argument("--out-gain", type=Path, help="table of errors on the old and new task to write, .csv")
    parser.add_argument("--out-estimates", type=Path, help="table of every measured number with its interval, .csv")
    args = parser.parse_args()

    from tgdpet.estimates import estimates
    from tgdpet.files import write_csv
    from tgdpet.findings import HOLDS, findings, standing
    from tgdpet.runs import load

    runs = load(args.results)
    table, gaps = findings(runs)
    if args.out_gain:
        errors, more = standing(runs)
        write_csv(args.out_gain, errors)
        gaps += more
    if args.out_estimates:
        numbers, more = estimates(runs)
        write_csv(args.out_estimates, numbers)
        gaps += more
    write_csv(args.out, table)
    counts = ", ".join(f"{(table.holds == word).sum()} {word}" for word in HOLDS)
    print("\n".join([*gaps, f"{len(table)} claims judged, which hold: {counts}"]))


if __name__ == "__main__":
    cli.run(main)
