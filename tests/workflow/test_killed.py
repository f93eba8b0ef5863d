"""A run that is killed and started again ends in the numbers of a run that was left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group(
    "smoke"
)  # one process, or each would make a smoke run of its own

ROOT = Path(__file__).resolve().parents[2]
TABLES = ["metrics/*.csv", "kse/*.csv", "dataset/*/index.tsv"]
LAST = [
    "metrics/findings.csv",
    "metrics/phi.csv",
]  # all other tables come before; figures and pages only show them


def tables(results: Path) -> dict[str, bytes]:
    found = {
        str(p.relative_to(results)): p.read_bytes() for glob in TABLES for p in results.glob(glob)
    }
    for name in found:
        if Path(name).name == "findings.csv":  # finding 7 is time saved
            found[name] = b"\n".join(
                line for line in found[name].splitlines() if not line.startswith(b"7,")
            )
    return found


def start(results: Path) -> subprocess.Popen[bytes]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--cores",
        "2",
        "--nolock",
        "--configfile",
        "config/smoke.yaml",
    ]
    return subprocess.Popen(
        [*command, "--config", f"results={results}"],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_when(run: subprocess.Popen[bytes], results: Path, pattern: str) -> None:
    """kill -9 Snakemake and all its jobs once a file of this pattern is there."""
    limit = time.monotonic() + 300
    while not list(results.glob(pattern)):
        assert run.poll() is None, f"the run ended before {pattern} appeared"
        assert time.monotonic() < limit, pattern
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()


@pytest.mark.slow
def test_killed_twice_and_run_again_gives_the_same_tables(smoke, snakemake, tmp_path):
    results = tmp_path / "results"
    kill_when(start(results), results, "recon/*/pet/*.nii.gz")  # in the middle of a reconstruction
    kill_when(start(results), results, "models/*_log.csv")  # in the middle of a training
    last = [results / name for name in LAST]
    done = snakemake(*last, "--configfile", "config/smoke.yaml", "--config", f"results={results}")
    assert done.returncode == 0, done.stdout[-6000:]
    expected, got = tables(smoke), tables(results)
    assert sorted(expected) == sorted(got)
    assert [name for name in expected if expected[name] != got[name]] == []
