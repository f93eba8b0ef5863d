"""Run Snakemake in this folder unless it is at work here already, and clear the lock that a killed
run left.

Snakemake's lock outlives `kill -9`, and the next run then asks for `--unlock`; this does it where
no run is alive.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import psutil

from tgdpet.workflow import lock


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(f"usage: python scripts/run_alone.py snakemake [OPTIONS]\n\n{__doc__}")

    here = Path.cwd()
    for process in psutil.process_iter(["cmdline", "cwd"]):
        is_here = process.info["cwd"] == str(here) and process.pid != os.getpid()
        if is_here and is_snakemake(process.info["cmdline"]):
            at_work = f"Snakemake (process {process.pid}) is at work in {here}"
            sys.exit(f"error: {at_work}; wait for it or stop it first")

    note = lock.holder(here)  # of another user's run, or one on another host
    if note is not None and lock.KILLED not in note:
        sys.exit(f"error: {note}")

    shutil.rmtree(here / ".snakemake" / "locks", ignore_errors=True)
    os.execvp(sys.argv[1], sys.argv[1:])


def is_snakemake(words: list[str] | None) -> bool:
    """Whether a process with this command line is Snakemake, or Python running it."""
    names = [Path(word).name for word in (words or [])[:3]]

    return "snakemake" in names[:2] or names[1:3] == ["-m", "snakemake"]


if __name__ == "__main__":
    main()
