"""The workflow on a real SLURM (one node, fake GPUs), interrupted in every way: the results are
those of a local run.

One run of all rules on one GPU takes the faults one after the other; the tests below tell what came
of each.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from harness import (
    PATIENCE_S,
    Folder,
    Row,
    differing,
    kill,
    lost_s,
    resumed,
    script,
    slurm,
    wait_for,
    watched,
)

NETWORKS = ("v1-net", "v2-net")  # on one GPU they are trained one after the other, in any order


@dataclass
class Story:
    """A run with its faults: where the results are, what was seen on the way, which files differ
    from a local run's.
    """

    results: Path
    folder: Folder
    rows: dict[str, Row] = field(default_factory=dict)
    gpu_jobs: list[set[str]] = field(default_factory=list)
    resumed: dict[str, int] = field(default_factory=dict)  # the step of each network's last start
    apart: list[str] = field(default_factory=list)

    def tell(self, fault: str, happened: str, lost_s: float) -> None:
        self.rows[fault] = Row(fault, happened, lost_s)

    def log_of(self, network: str) -> Path:
        return self.results / f"logs/train/{network}.log"

    def script(self, *words: str) -> psutil.Process | None:
        return script(self.folder.place, *words)

    def trained_now(self) -> str | None:
        return next((name for name in NETWORKS if self.script("05_train", name)), None)

    def idle(self) -> None:
        wait_for("all jobs' end", lambda: not slurm("squeue", "-h", "-o", "%i").split())

    def goes_on(self, network: str) -> int:
        """Wait until the training says at which step it goes on; that step."""
        before = self.resumed.get(network, 0)
        wait_for(f"{network}'s script", lambda: self.script("05_train", network))
        self.resumed[network] = wait_for(
            "the training to go on", lambda: resumed(self.log_of(network), before)
        )
        return self.resumed[network]

    def training(self, network: str) -> Path:
        """Wait until this network is being trained and has a checkpoint that is not of the step
        before; its path.
        """
        path = self.results / f"checkpoints/{network}.safetensors"
        before = path.stat().st_mtime if path.exists() else 0.0
        wait_for(f"{network}'s script", lambda: self.script("05_train", network))
        wait_for(
            f"a checkpoint of {network}", lambda: path.exists() and path.stat().st_mtime > before
        )
        return path


@pytest.fixture(scope="module")
def story(slurm_with, folder, local_run, table, tmp_path_factory):
    told = Story(tmp_path_factory.mktemp("cluster_results") / "cluster", folder)
    slurm_with(1)
    folder.set(dataset_adapt={"mem_mb": "60 if attempt == 1 else 1500"})
    with watched() as told.gpu_jobs:
        run = folder.start(told.results)
        _job_killed(told)
        _node_drained(told)
        one = wait_for("a training", told.trained_now)
        two = next(name for name in NETWORKS if name != one)
        held = told.folder.job_of("rule_train", two, state="PD")
        slurm("scontrol", "hold", held)  # or it would take the GPU while the other is interrupted
        _requeued(told, one)
        _wall_time(told, one)
        slurm("scontrol", "release", held)
        run = _interrupted(told, two, run)
        run = _snakemake_killed(told, two, run)
        folder.finish(run)
    _memory(told)
    told.apart = differing(local_run(), told.results)
    for row in told.rows.values():
        row.equal = not told.apart
    table.extend(told.rows.values())
    return told


def _job_killed(told: Story) -> None:
    process = wait_for("a simulation", lambda: told.script("01_simulate", "lesion"))
    lost = time.time() - process.create_time()
    kill(process)
    wait_for("its next try", lambda: told.script("01_simulate", "lesion"))
    told.tell("kill -9 of a simulation", "tried again by Snakemake", lost)


def _node_drained(told: Story) -> None:
    wait_for("a reconstruction", lambda: told.script("03_reconstruct"))
    errors = told.folder.log().count("Error in ")
    node = slurm("hostname", "-s").strip()
    slurm("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
    wait_for(
        "the running jobs' end", lambda: not slurm("squeue", "-h", "--states=R", "-o", "%i").split()
    )
    time.sleep(3)
    assert not slurm("squeue", "-h", "--states=R", "-o", "%i").split()
    slurm("scontrol", "update", f"nodename={node}", "state=resume")
    wait_for("a job", lambda: slurm("squeue", "-h", "--states=R", "-o", "%i").split())
    assert told.folder.log().count("Error in ") == errors
    told.tell("node drained and resumed", "running jobs ended, the others waited", 0.0)


def _requeued(told: Story, network: str) -> None:
    path = told.training(network)
    job, process = told.folder.job_of("rule_train", network), told.script("05_train", network)
    slurm("scontrol", "requeue", job)
    lost = lost_s(process, path)
    wait_for("the job to pend", lambda: "PENDING" in slurm("squeue", "-h", "-j", job, "-o", "%T"))
    slurm("scontrol", "update", f"JobId={job}", "StartTime=now")  # SLURM would wait two minutes
    step = told.goes_on(network)
    told.tell("scontrol requeue of a training", f"SLURM ran it again, on from step {step}", lost)


def _wall_time(told: Story, network: str) -> None:
    path = told.training(network)
    job, process = told.folder.job_of("rule_train", network), told.script("05_train", network)
    assert process is not None
    process.suspend()  # SLURM looks at the limits twice a minute: the training is not to end before
    lost = time.time() - path.stat().st_mtime
    slurm("scontrol", "update", f"JobId={job}", "EndTime=now+1")
    process.wait(timeout=PATIENCE_S)
    wait_for(
        "SLURM's word",
        lambda: "TIMEOUT" in slurm("squeue", "-h", "--states=all", "-j", job, "-o", "%T"),
    )
    step = told.goes_on(network)
    told.tell(
        "wall time reached in a training",
        f"tried again with twice the time, on from step {step}",
        lost,
    )


def _interrupted(
    told: Story, network: str, run: subprocess.Popen[bytes]
) -> subprocess.Popen[bytes]:
    path = told.training(network)
    process = told.script("05_train", network)
    os.kill(run.pid, signal.SIGINT)
    lost = lost_s(process, path)
    assert run.wait(timeout=PATIENCE_S) != 0
    told.idle()
    run = told.folder.start(told.results)
    step = told.goes_on(network)
    told.tell(
        "Ctrl-C of Snakemake",
        f"it cancelled its jobs; the same command again, on from step {step}",
        lost,
    )
    return run


def _snakemake_killed(
    told: Story, network: str, run: subprocess.Popen[bytes]
) -> subprocess.Popen[bytes]:
    path = told.training(network)
    process = told.script("05_train", network)
    kill(run)
    run.wait()
    second = told.folder.start(told.results, log="second.log")
    assert second.wait(timeout=PATIENCE_S) != 0
    assert process is not None and process.is_running()  # its jobs go on
    slurm("scancel", "--name", re.findall(r"SLURM run ID: (\S+)", told.folder.log())[-1])
    lost = lost_s(process, path)
    told.idle()
    told.folder.unlock(told.results)
    run = told.folder.start(told.results)
    step = told.goes_on(network)
    told.tell(
        "kill -9 of Snakemake",
        f"scancel, --unlock, the same command again: on from step {step}",
        lost,
    )
    return run


def _memory(told: Story) -> None:
    jobs = [
        line.split("|")
        for line in slurm("squeue", "-h", "--states=all", "-o", "%T|%M|%i|%k").splitlines()
    ]
    ends = {
        state: (elapsed, number)
        for state, elapsed, number, comment in jobs
        if "dataset_adapt" in comment
    }
    assert "COMPLETED" in ends and len(ends) == 2, jobs
    ((elapsed, number),) = (end for state, end in ends.items() if state != "COMPLETED")
    minutes, seconds = map(float, elapsed.split(":"))
    words = (
        told.folder.place / f".snakemake/slurm_logs/rule_dataset_adapt/{number}.log"
    ).read_text()
    assert "memory" in words, words
    told.tell("memory exceeded", "killed by SLURM; tried again with more", 60 * minutes + seconds)


def test_results_are_those_of_a_local_run(story):
    assert story.apart == []


def test_no_two_jobs_share_the_one_gpu(story):
    assert len(story.gpu_jobs) > 50
    assert max(map(len, story.gpu_jobs)) == 1


def test_trainings_went_on_from_their_checkpoints(story):
    assert set(story.resumed) == set(NETWORKS) and min(story.resumed.values()) > 0


def test_sidecars_tell_job_and_gpu(story):
    for path in (story.results / "models").glob("*.json"):
        told = json.loads(path.read_text())["provenance"]
        assert told["job"].isdigit() and told["gpus"] == "0", path
    assert not list(story.results.rglob("checkpoints/**/*.safetensors"))


def test_a_second_snakemake_is_told_who_holds_the_lock(story):
    line = next(x for x in story.folder.log("second.log").splitlines() if "is locked by" in x)
    assert "was killed" in line and "snakemake --unlock" in line


def test_jobs_asked_for_what_they_need(story):
    """GPU jobs in their partition, small jobs together, nobody else with a GPU."""
    seen = slurm(
        "squeue", "-h", "--states=all", "-O", "Partition:9,tres-per-job:19,Comment:99"
    ).splitlines()
    assert len(seen) > 20
    for partition, gpus, comment in (line.split(maxsplit=2) for line in seen):
        uses = re.match(r"rule_(train|adapt|drop|denoise|sweep)", comment) is not None
        assert (partition == "gpu") == uses == (gpus == "gres:gpu:1"), (partition, gpus, comment)
