"""What went wrong in a run, one line a failed job, from Snakemake's own words and the jobs'
logs.
"""

from __future__ import annotations

import re
from pathlib import Path

# The first line of a log that tells the cause: ours, Python's, SLURM's, the shell's.
CAUSE = re.compile(
    r"^(error: |[\w.]*(Error|Exception|Interrupt)\b|slurmstepd: error: |.*\b(Killed|No such file|bad_alloc)\b)"
)
HEADER = re.compile(r"^(\s*)(?:Error in rule|Error in group|rule) ([\w-]+)(?:, jobid: \d+)?:")


def summary(text: str) -> list[str]:
    """One line for each job that `text` (Snakemake's log) reports as failed: rule, what it worked
    on, cause, log.
    """
    lines: dict[Path, str] = {}  # of a job that was tried again, the last
    for block in re.split(r"^(?=Error in (?:rule|group) )", text, flags=re.M)[1:]:
        rule, status = "", ""
        for line in block.splitlines()[1:]:
            if line and not line.startswith(" "):
                break
            status = _after(line, "message: ") or status
            if (nested := HEADER.match(line)) is not None:
                rule = nested[2]
            if logs := _after(line, "log: "):
                paths = [Path(p.strip()) for p in logs.split(" (check log file")[0].split(",")]
                lines[paths[0]] = _line(rule or _name(block), paths, status)
    return list(lines.values())


def _line(rule: str, logs: list[Path], status: str) -> str:
    cause = (
        next((c for c in map(_cause, logs) if c), "")
        or (status if status != "None" else "")
        or "killed, or no error in its log"
    )
    return f"FAILED: rule {rule}, {logs[0].stem.replace('_', ' ')}: {cause} (log: {logs[0]})"


def _name(block: str) -> str:
    found = HEADER.match(block)
    return found[2] if found else "?"


def _after(line: str, word: str) -> str:
    return line.strip().removeprefix(word) if line.strip().startswith(word) else ""


def _cause(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next(
        (line.strip().removeprefix("error: ") for line in lines if CAUSE.match(line.strip())), ""
    )
