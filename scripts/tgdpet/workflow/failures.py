"""What went wrong in a run, one line a failed job, from Snakemake's own words and the jobs'
logs.
"""

from __future__ import annotations

import re
from pathlib import Path

# The first line of a log that tells the cause: ours, Python's, SLURM's, the shell's.
CAUSE = re.compile(
    r"^(error: |[\w.]*(Error|Exception|Interrupt)\b|slurmstepd: error: "
    r"|.*\b(Killed|No such file|bad_alloc|command not found)\b)"
)
HEADER = re.compile(r"^(\s*)(?:Error in rule|Error in group|rule) ([\w-]+)(?:, jobid: \d+)?:")


def summary(text: str) -> list[str]:
    """One line for each job that `text` (Snakemake's log) reports as failed: rule, what it worked
    on, cause, log.
    """
    lines: dict[Path, str] = {}  # of a job that was tried again, the last

    for block in re.split(r"^(?=Error in (?:rule|group) )", text, flags=re.M)[1:]:
        rule = ""
        status = ""

        for line in block.splitlines()[1:]:
            if line and not line.startswith(" "):
                break

            status = _after(line, "message: ") or status
            nested = HEADER.match(line)  # a job of a group
            if nested is not None:
                rule = nested[2]

            if logs := _after(line, "log: "):
                names = logs.split(" (check log file")[0].split(",")
                paths = [Path(name.strip()) for name in names]
                lines[paths[0]] = _line(rule or _name(block), paths, status)

    return list(lines.values())


def _line(rule: str, logs: list[Path], status: str) -> str:
    causes = [cause for cause in map(_cause, logs) if cause]
    if not causes and status != "None":
        causes = [status]
    cause = next(filter(None, causes), "killed, or no error in its log")

    work = logs[0].stem.replace("_", " ")
    return f"FAILED: rule {rule}, {work}: {cause} (log: {logs[0]})"


def _name(block: str) -> str:
    header = HEADER.match(block)
    return header[2] if header else "?"


def _after(line: str, word: str) -> str:
    """The rest of a line that begins with this word; empty for another line."""
    line = line.strip()
    return line.removeprefix(word) if line.startswith(word) else ""


def _cause(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""

    causes = (line.strip() for line in lines if CAUSE.match(line.strip()))
    return next(causes, "").removeprefix("error: ")
