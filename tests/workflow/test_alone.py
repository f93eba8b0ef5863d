"""Two runs in one folder, and results that cannot be written: each is told in one clear line."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tgdpet.workflow import lock

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A checkout made of links, with locks of its own."""
    place = tmp_path / "work"
    place.mkdir()
    for name in ("workflow", "scripts", "config", "profiles"):
        (place / name).symlink_to(ROOT / name)
    (place / "Snakefile").write_text((ROOT / "Snakefile").read_text())
    return place


@pytest.fixture
def start(work: Path) -> Iterator[Any]:
    """`start(target, results, **options of Popen)`: Snakemake in the working folder, killed at the
    end if need be.
    """
    started = []

    def call(target: str, results: Path, *words: str, **options: Any) -> subprocess.Popen[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        command = [sys.executable, "-m", "snakemake", "--cores", "1", f"{results}/{target}", *words]
        run = subprocess.Popen(
            [*command, "--configfile", "config/smoke.yaml", "--config", f"results={results}"],
            cwd=work,
            env={**os.environ, "PATH": path},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )
        started.append(run)
        return run

    yield call
    for run in started:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
        run.communicate()


def holding(work: Path, run: subprocess.Popen[str]) -> None:
    """Wait until this run has the lock and says so."""
    for _ in range(600):
        notes = (work / lock.HOLDERS).glob("*.json")
        if any(f'"pid": {run.pid},' in note.read_text() for note in notes):
            return
        assert run.poll() is None, run.communicate()[0]
        time.sleep(0.1)
    raise AssertionError("no lock")


def test_the_second_is_told_who_holds_the_lock_and_how_to_lift_a_dead_ones(work, start, tmp_path):
    first = start("listmode/lesion/events.npy", tmp_path / "results")
    holding(work, first)
    os.killpg(first.pid, signal.SIGSTOP)  # at work for as long as it takes
    out, _ = (second := start("listmode/lesion/events.npy", tmp_path / "results")).communicate(
        timeout=120
    )
    assert second.returncode != 0
    assert re.search(
        rf"is locked by Snakemake \(process {first.pid} of \w+ on .*which is at work", out
    ), out
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    out, _ = (third := start("listmode/lesion/events.npy", tmp_path / "results")).communicate(
        timeout=120
    )
    assert third.returncode != 0 and "was killed" in out and "snakemake --unlock" in out
    assert (
        start("listmode/lesion/events.npy", tmp_path / "results", "--unlock").wait(timeout=120) == 0
    )
    out, _ = (fourth := start("listmode/lesion/events.npy", tmp_path / "results")).communicate(
        timeout=240
    )
    assert fourth.returncode == 0, out
    assert "is locked by" not in out


def test_two_runs_into_different_folders_do_not_disturb_each_other(work, start, tmp_path):
    one = start("listmode/adapt01/samples.json", tmp_path / "one", "--notemp")
    holding(work, one)
    two = start("listmode/adapt01/samples.json", tmp_path / "two", "--notemp")
    for run in (one, two):
        out, _ = run.communicate(timeout=300)
        assert run.returncode == 0, out
        assert "is locked by" not in out
    for name in ("events.npy", "samples.json", "mu.nii.gz"):
        one, two = (
            (tmp_path / place / "listmode/adapt01" / name).read_bytes() for place in ("one", "two")
        )
        assert one == two, name


def test_results_that_cannot_be_written_are_one_line(start):
    run = start("compiled.txt", Path("/proc/results"))
    out, _ = run.communicate(timeout=120)
    assert run.returncode != 0
    (line,) = [line for line in out.splitlines() if "cannot be written" in line]
    assert line.startswith("results: /proc: cannot be written: ")
    assert "Traceback" not in out and "rule compile" not in out


def test_a_full_disk_is_one_line_that_names_rule_study_cause_and_log(start, tmp_path):
    """With a limit on the size of files in place of a disk; Snakemake's own files are smaller."""
    results = tmp_path / "results"
    limit = 400_000
    run = start(
        "listmode/adapt01/events.npy",
        results,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    out, _ = run.communicate(timeout=240)
    assert run.returncode != 0
    (line,) = [line for line in out.splitlines() if line.startswith("FAILED: ")]
    assert line.startswith(
        f"FAILED: rule simulate, adapt01: {results}/listmode/adapt01/events.npy: cannot be written"
    )
    assert line.endswith(f"(log: {results}/logs/simulate/adapt01.log)")
    assert (
        not list(results.rglob(".tmp-*")) and not (results / "listmode/adapt01/events.npy").exists()
    )


def script(work: Path, name: str) -> psutil.Process:
    """The script of this name that runs in the working folder, once it runs."""
    limit = time.monotonic() + 120
    while time.monotonic() < limit:
        for process in psutil.process_iter(["cmdline", "cwd"]):
            if process.info["cwd"] == str(work) and (process.info["cmdline"] or ["", ""])[1:2] == [
                f"scripts/{name}"
            ]:
                return process
        time.sleep(0.02)
    raise AssertionError(f"no {name}")


@pytest.mark.skipif(
    not hasattr(psutil.Process, "rlimit"), reason="no limits on other processes here"
)
@pytest.mark.parametrize("way", ["refused", "killed"])
def test_memory_that_is_out_is_one_line_too(work, start, tmp_path, way):
    """Allocation fails, or the system ends the job (kill -9)."""
    results = tmp_path / "results"
    run = start("listmode/adapt01/events.npy", results)
    process = script(work, "01_simulate.py")
    if way == "refused":
        while not any(
            "llvmlite" in m.path for m in process.memory_maps()
        ):  # it has imported numpy before
            time.sleep(0.02)
        process.rlimit(
            psutil.RLIMIT_AS, (32 << 20, 32 << 20)
        )  # less than it has: whatever it asks for next is refused
    else:
        process.kill()
    out, _ = run.communicate(timeout=240)
    assert run.returncode != 0
    (line,) = [line for line in out.splitlines() if line.startswith("FAILED: ")]
    cause = {
        "refused": ".*(out of memory|MemoryError|bad_alloc|failed to map|annot allocate)",
        "killed": "killed, or no error in its log",
    }[way]
    assert re.match(rf"FAILED: rule simulate, adapt01: {cause}", line), out
    assert (
        not list(results.rglob(".tmp-*")) and not (results / "listmode/adapt01/events.npy").exists()
    )
