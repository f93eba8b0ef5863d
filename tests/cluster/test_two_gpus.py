"""Two GPUs, two Snakemakes writing one file, and a disk that is full: on a small part of the
rules.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from harness import PATIENCE_S, Folder, Row, kill, script, scripts, slurm, wait_for, watched

NETWORKS = ("v1-net", "v2-net")


@pytest.fixture(scope="module", autouse=True)
def two_gpus(slurm_with):
    slurm_with(2)


@pytest.fixture
def again(local, tmp_path):
    """A copy of the local results without the networks that are trained from scratch."""
    results = tmp_path / "results"
    shutil.copytree(local, results)
    for path in [
        *(results / "models").iterdir(),
        *(results / "checkpoints").rglob("*.safetensors"),
    ]:
        path.unlink()
    return results


def targets(results: Path, *names: str) -> list[str]:
    return [f"{results}/models/{name}.safetensors" for name in names]


def same(one: Path, two: Path, *names: str) -> bool:
    return all(
        Path(a).read_bytes() == Path(b).read_bytes()
        for a, b in zip(targets(one, *names), targets(two, *names), strict=True)
    )


def test_two_trainings_run_together_each_on_its_own_gpu(folder: Folder, local, again):
    with watched() as seen:
        folder.finish(folder.start(again, *targets(again, *NETWORKS), log="pair.log"), "pair.log")
    assert max(map(len, seen)) == 2
    told = [json.loads((again / f"models/{n}.json").read_text())["provenance"] for n in NETWORKS]
    assert sorted(t["gpus"] for t in told) == ["0", "1"]
    assert same(local, again, *NETWORKS)


def test_a_job_on_two_gpus_gets_both_and_runs_once(folder: Folder, local, tmp_path, monkeypatch):
    """The plugin once ran such a job's script twice."""
    results = tmp_path / "results"
    shutil.copytree(local, results)
    target = results / "adapted/TGD-net.safetensors"
    target.unlink()
    (tmp_path / "two.yaml").write_text("resources: {gpus: 2}\n")
    monkeypatch.setattr(folder, "configs", (*folder.configs, str(tmp_path / "two.yaml")))
    folder.set(train={"gpu": 2}, adapt={"gpu": 2})
    run = folder.start(results, str(target), log="wide.log")
    most = 0
    while run.poll() is None:
        most = max(most, len(scripts(folder.place, "07_adapt")))
        time.sleep(0.2)
    folder.set()
    assert run.returncode == 0, folder.log("wide.log")[-6000:]
    assert most == 1
    assert json.loads(target.with_suffix(".json").read_text())["provenance"]["gpus"] == "0,1"
    assert target.read_bytes() == (local / "adapted/TGD-net.safetensors").read_bytes()


def test_a_duplicate_of_a_running_job_does_no_harm(folder: Folder, local, again, table):
    """Snakemake is killed, unlocked and started again while its training goes on: both write the
    same files.
    """
    run = folder.start(again, *targets(again, "v1-net"), log="twice.log")
    wait_for("the training", lambda: script(folder.place, "05_train", "v1-net"))
    started = time.time()
    kill(run)
    run.wait()
    folder.unlock(again)
    second = folder.start(again, *targets(again, "v1-net"), log="twice.log")
    wait_for(
        "the duplicate", lambda: len(slurm("squeue", "-h", "--states=R", "-o", "%i").split()) == 2
    )
    lost = time.time() - started
    folder.finish(second, "twice.log")
    wait_for("both jobs' end", lambda: not slurm("squeue", "-h", "-o", "%i").split())
    equal = same(local, again, "v1-net")
    table.append(
        Row(
            "a duplicate of a running training",
            "both wrote the same file, one after the other",
            lost,
            equal,
        )
    )
    assert equal
    assert not list(again.rglob(".tmp-*"))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of half a megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", place],
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk(folder: Folder, local, small_disk, table):
    results = small_disk / "results"
    target = f"{results}/listmode/train01/events.npy"
    run = folder.start(results, target, "--retries", "0", "--notemp", log="full.log")
    process = wait_for("the simulation", lambda: script(folder.place, "01_simulate"))
    begun = process.create_time()
    assert run.wait(timeout=PATIENCE_S) != 0
    lost = (results / "logs/simulate/train01.log").stat().st_mtime - begun
    (line,) = [
        x
        for x in folder.log("full.log").splitlines()
        if x.startswith("FAILED: rule simulate, train01: ")
    ]
    assert "cannot be written" in line and line.endswith(
        f"(log: {results}/logs/simulate/train01.log)"
    )
    assert not Path(target).exists() and not list(results.rglob(".tmp-*"))
    subprocess.run(["mount", "-o", "remount,size=200m", small_disk], check=True)
    folder.finish(folder.start(results, target, "--notemp", log="full.log"), "full.log")
    whole = local / "listmode/train01/events.npy"
    equal = Path(target).read_bytes() == whole.read_bytes()
    table.append(
        Row("disk full", "one line told it; after making room the same command again", lost, equal)
    )
    assert equal
    assert os.path.ismount(small_disk)
