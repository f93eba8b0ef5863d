"""A one-node SLURM for the tests of this folder, which are skipped where none can be started."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import HERE, Folder, Row

NEEDED = ("slurmctld", "slurmd", "munged", "squeue", "sbatch")
Start = Callable[[int], None]


def missing() -> str:
    """Why no SLURM can be started here; empty where one can."""
    if os.geteuid() != 0:
        return "SLURM's daemons need root here"
    lacking = [
        name
        for name in NEEDED
        if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None
    ]
    if lacking:
        return f"{lacking[0]} is not installed (Debian: apt-get install slurm-wlm munge)"
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        return "snakemake-executor-plugin-slurm is not installed (make venv)"
    return ""


@pytest.fixture(scope="session")
def slurm_with(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """`slurm_with(2)`: a fresh SLURM whose one node has two GPUs."""
    if reason := missing():
        pytest.skip(reason)
    states: list[Path] = []

    def stop() -> None:
        if states:
            subprocess.run([HERE / "slurm.sh", "stop", states[-1]], check=True)

    def start(gpus: int) -> None:
        stop()
        states.append(tmp_path_factory.mktemp("slurm"))
        done = subprocess.run(
            [HERE / "slurm.sh", "start", states[-1], str(gpus)],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode == 3:
            states.clear()
            pytest.skip(done.stderr.strip())
        assert done.returncode == 0, done.stderr

    yield start
    stop()


@pytest.fixture(scope="session")
def folder(slurm_with: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    """The working folder of the runs."""
    work = Folder(tmp_path_factory.mktemp("cluster") / "work")
    yield work
    work.stop()


@pytest.fixture(scope="session")
def local_run(
    slurm_with: Start, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Path]]:
    """A whole run without SLURM, list mode included, in a folder of its own; called, it waits for
    the end.
    """
    work, results = (
        Folder(tmp_path_factory.mktemp("local") / "work"),
        tmp_path_factory.mktemp("results") / "local",
    )
    run = work.start(results, "--cores", "2", "--notemp", log="local.log")

    def ended() -> Path:
        work.finish(run, "local.log")
        return results

    yield ended
    work.stop()


@pytest.fixture(scope="session")
def local(local_run: Callable[[], Path]) -> Path:
    """The results of the run without SLURM, that the others are held against."""
    return local_run()


@pytest.fixture(scope="session")
def table() -> Iterator[list[Row]]:
    """The faults' table, printed at the end."""
    rows: list[Row] = []
    yield rows
    print("\n\n| fault | what happened | work lost, s | result equal |\n|---|---|---|---|")
    for row in rows:
        equal = {True: "yes", False: "NO", None: "not known"}[row.equal]
        print(f"| {row.fault} | {row.happened} | {row.lost_s:.1f} | {equal} |")
