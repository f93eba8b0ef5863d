"""Each rule works with nothing but its declared inputs: everything else is out of its reach."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from plans import Job, commands
from tgdpet.figures import TOGETHER

pytestmark = pytest.mark.xdist_group(
    "smoke"
)  # one process, or each would make a smoke run of its own

ROOT = Path(__file__).resolve().parents[2]

# Rules that make or read temporary files, in this order; of one study, whose files are made anew.
CHAIN = ("simulate", "corrections", "subsample", "reconstruct_training")
STUDY = "adapt01"
# They inherit the inputs of reconstruct_training, and other studies' list mode is gone.
SAME_INPUTS = ("reconstruct_lesion", "reconstruct_high_bmi", "reconstruct_online")
# Hosts, times and speeds differ from run to run.
UNSTABLE = (".json", ".md", "_log.csv", "compiled.txt")


@pytest.fixture
def hidden(smoke: Path) -> Iterator[Path]:
    """The results of the smoke run, at a place that no file and no command of it names."""
    away = smoke.with_name("hidden")
    smoke.rename(away)
    yield away
    away.rename(smoke)


def one_a_rule(jobs: list[Job]) -> list[Job]:
    """One job of each rule; of figures all that read more than tables: each reads other files."""
    chosen: dict[str, Job] = {}
    for job in jobs:
        if job.rule in SAME_INPUTS or (job.rule in CHAIN and STUDY not in job.log):
            continue

        figure = Path(job.log).stem if job.rule == "figure" else ""
        chosen.setdefault(job.rule if figure in ("", *TOGETHER) else figure, job)

    return list(chosen.values())


def run_apart(job: Job, work: Path, results: Path, sources: list[Path]) -> list[str]:
    """Run a job in the empty folder `work` on copies of its inputs; what is wrong then.

    `results` is the folder that the job names; its files lie in the first of `sources` that has
    them.
    """
    for name in job.input:
        inside = Path(name).is_relative_to(results)
        relative = Path("results") / Path(name).relative_to(results) if inside else Path(name)
        (work / relative).parent.mkdir(parents=True, exist_ok=True)

        places = [folder / Path(name).relative_to(results) for folder in sources if inside]
        source = next((path for path in places if path.exists()), ROOT / relative)
        shutil.copy(source, work / relative)

    log = Path(job.log.replace(str(results), "results"))
    (work / log).parent.mkdir(parents=True, exist_ok=True)

    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", job.shell.replace(str(results), "results")],
        cwd=work,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "scripts")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        return [f"{job.rule}: {done.stdout[-1500:]}"]

    wrong = []
    for name in job.output:
        relative = Path(name).relative_to(results)
        made, expected = work / "results" / relative, sources[0] / relative
        if not made.exists():
            wrong.append(f"{job.rule}: {relative} was not made")
        elif name.endswith(UNSTABLE) or not expected.exists():
            continue
        elif made.read_bytes() != expected.read_bytes():
            wrong.append(f"{job.rule}: {relative} is another one than with all files there")

    return wrong


@pytest.mark.slow
def test_each_rule_reads_what_it_declares_and_nothing_else(snakemake, smoke, hidden, tmp_path):
    words = ("--configfile", "config/smoke.yaml", "--config", f"results={smoke}")
    planned = snakemake("-n", "-p", "--forceall", *words)
    assert planned.returncode == 0, planned.stdout[-3000:]

    jobs = one_a_rule(commands(planned.stdout))
    rules = {job.rule for job in jobs}
    assert len(rules) > 20 and rules >= set(CHAIN)

    def alone(job: Job) -> list[str]:
        work = tmp_path / Path(job.log).stem / job.rule
        return run_apart(job, work, smoke, [hidden])

    def in_turn() -> list[str]:
        """Each works on what those before it made."""
        wrong, sources = [], [hidden]
        for rule in CHAIN:
            job = next(job for job in jobs if job.rule == rule)
            work = tmp_path / rule
            wrong += run_apart(job, work, smoke, sources)
            sources.append(work / "results")
        return wrong

    with ThreadPoolExecutor(2) as pool:
        chain = pool.submit(in_turn)
        wrong = [
            line
            for lines in pool.map(alone, (j for j in jobs if j.rule not in CHAIN))
            for line in lines
        ]
        wrong += chain.result()

    assert not wrong, "\n".join(wrong)
