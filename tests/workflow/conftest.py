"""Running the workflow as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Snakemake = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def snakemake() -> Snakemake:
    """`snakemake(*words)`: run it in the checkout, output and errors in `.stdout`."""
    root = Path(__file__).resolve().parents[2]

    def call(*words: str | Path) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        command = [sys.executable, "-m", "snakemake", "--cores", "2", "--nolock", *map(str, words)]
        return subprocess.run(
            command,
            cwd=root,
            env={**os.environ, "PATH": path},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )

    return call


@pytest.fixture(scope="session")
def smoke_run(snakemake: Snakemake, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The results of a whole run of smoke.yaml, and all that Snakemake said."""
    results = tmp_path_factory.mktemp("smoke") / "results"
    done = snakemake(
        "--configfile", "config/smoke.yaml", "--config", f"results={results}", "--verbose"
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return results, done.stdout


@pytest.fixture(scope="session")
def smoke(smoke_run: tuple[Path, str]) -> Path:
    """The results of a whole run of smoke.yaml."""
    return smoke_run[0]
