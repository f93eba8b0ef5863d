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
        words = [Path(word).name for word in (process.info["cmdline"] or [])[:3]]
        is_snakemake = "snakemake" in words[:2] or words[1:3] == ["-m", "snakemake"]
        if is_snakemake and process.info["cwd"] == str(here) and process.pid != os.getpid():
            sys.exit(
                f"error: Snakemake (process {process.pid}) is at work in {here}; wait for it or stop it first"
            )
    note = lock.holder(here)  # of another user's run, or one on another host
    if note is not None and lock.KILLED not in note:
        sys.exit(f"error: {note}")
    shutil.rmtree(here / ".snakemake" / "locks", ignore_errors=True)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
