"""Jobs, processor seconds and wall seconds of a run by rule, or of two runs side by side.

Run by hand: python benchmarks/by_rule.py RESULTS [AFTER]. Prints a Markdown table from the files
that Snakemake writes below benchmarks/ of a results folder, one folder a stage.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

# When Snakemake 9 looks at a job: each half second thirty times, which takes a little longer, and
# each 30 s from then on.
SHORT_S = 0.5
SHORT_UNTIL_S = 15.2
LONG_S = 30.0


@dataclass
class Times:
    """What the jobs of a stage took together."""

    jobs: int = 0
    processor_s: float = 0.0
    wall_s: float = 0.0

    def add(self, other: Times) -> None:
        """Count the jobs of `other` too."""
        self.jobs += other.jobs
        self.processor_s += other.processor_s
        self.wall_s += other.wall_s


def last_look_s(wall_s: float) -> float:
    """When Snakemake looked for the last time at a job of so many seconds; 0: only at its start."""
    if wall_s < SHORT_UNTIL_S:
        return SHORT_S * int(wall_s / SHORT_S)

    return SHORT_UNTIL_S + LONG_S * int((wall_s - SHORT_UNTIL_S) / LONG_S)


def job_times(path: Path) -> Times:
    """The times in one benchmark file.

    The processor seconds of a job are those until Snakemake's last look at it: what came after
    counts here at the same rate. A job that ended before the second look counts as it is.
    """
    total = Times()
    with open(path, encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            wall_s = float(row["s"])
            seen_s = float(row["cpu_time"]) if row["cpu_time"] not in ("-", "NA") else 0.0
            looked_s = last_look_s(wall_s)

            processor_s = seen_s * wall_s / looked_s if looked_s > 0 else seen_s
            total.add(Times(1, processor_s, wall_s))

    return total


def by_stage(results: Path) -> dict[str, Times]:
    """Stage -> times of all its jobs; ValueError where a folder holds no benchmark files."""
    stages: dict[str, Times] = {}
    for path in sorted(results.glob("benchmarks/*/*.tsv")):
        stages.setdefault(path.parent.name, Times()).add(job_times(path))

    if not stages:
        raise ValueError(f"{results}: no benchmarks/STAGE/JOB.tsv in it")

    return stages


def with_total(stages: dict[str, Times], order: list[str]) -> list[tuple[str, Times]]:
    """Rows in this order, and their sum; a stage that a run lacks has no jobs."""
    rows = [(stage, stages.get(stage, Times())) for stage in order]

    total = Times()
    for _, times in rows:
        total.add(times)

    return [*rows, ("all", total)]


def ratio(after: float, before: float) -> str:
    """`after` as a share of `before`."""
    return f"{after / before:.2f}" if before > 0 else ""


def one_table(stages: dict[str, Times]) -> list[str]:
    """The Markdown table of one run, the longest stage first."""
    order = sorted(stages, key=lambda stage: -stages[stage].processor_s)
    lines = ["| stage | jobs | processor s | wall s |", "|---|---|---|---|"]

    for stage, times in with_total(stages, order):
        lines.append(f"| {stage} | {times.jobs} | {times.processor_s:.0f} | {times.wall_s:.0f} |")

    return lines


def two_tables(before: dict[str, Times], after: dict[str, Times]) -> list[str]:
    """The Markdown table of two runs side by side, the longest stage of the first one on top."""
    order = sorted(before, key=lambda stage: -before[stage].processor_s)
    order += sorted(set(after) - set(before))

    lines = [
        "| stage | jobs, before | after | processor s, before | after | ratio "
        "| wall s, before | after | ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    pairs = zip(with_total(before, order), with_total(after, order), strict=True)
    for (stage, old), (_, new) in pairs:
        processor_s = f"{old.processor_s:.0f} | {new.processor_s:.0f}"
        processor_s += f" | {ratio(new.processor_s, old.processor_s)}"

        wall_s = f"{old.wall_s:.0f} | {new.wall_s:.0f} | {ratio(new.wall_s, old.wall_s)}"
        lines.append(f"| {stage} | {old.jobs} | {new.jobs} | {processor_s} | {wall_s} |")

    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="results folder of a run")
    parser.add_argument("after", type=Path, nargs="?", help="another one to set beside it")
    args = parser.parse_args()

    stages = by_stage(args.results)
    lines = two_tables(stages, by_stage(args.after)) if args.after else one_table(stages)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
