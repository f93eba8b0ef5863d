"""How long the paper's scale takes on a cluster: a simulated schedule from the rates of
`tgdpet.workflow.job_sizes`, nothing is run.

Run by hand: python benchmarks/schedule.py --out docs/figures   (writes schedule.csv and
schedule.png). List scheduling: whenever cores or a GPU are free, the ready job with the longest way
to the end starts. Rates as in `rates.py` (of a GPU half of an H100's), each job costs OVERHEAD_S of
queueing and starting, and no job waits for anybody else's.
"""

from __future__ import annotations

import argparse
import heapq
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from tgdpet.config import roles, studies
from tgdpet.config.chains import needs_old_data, old_task
from tgdpet.config.loading import load_config
from tgdpet.config.sections import Config
from tgdpet.figures import drawn
from tgdpet.workflow import job_sizes, rates

ROOT = Path(__file__).resolve().parent.parent
CORES = 32  # of a node without GPUs; each GPU brings the cores of its own jobs
NODES, GPUS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32), (1, 2, 4, 8)
OVERHEAD_S = 20.0


@dataclass(frozen=True)
class Job:
    """A job: seconds, cores of a CPU node or one GPU (cores = 0), and the jobs that have to end
    before it starts.
    """

    name: str
    seconds: float
    cores: int
    after: tuple[str, ...] = ()


def jobs_of(config: Config, table: Iterable[studies.Study]) -> list[Job]:
    """The jobs of a configuration, one image a reconstruction job, trainings and denoising on a
    GPU.
    """
    table = list(table)
    events, threads, jobs = job_sizes.events_per_study(config), config.resources, []
    images: dict[tuple[str, str], list[str]] = {}
    for s in table:
        corrections_s = (
            job_sizes.sensitivity_core_s(config) + job_sizes.additive_core_s(config)
        ) / threads.reconstruct
        simulate_s = events / rates.SIMULATE_EVENTS_PER_CORE_S / threads.simulate
        subsample_s = 20 * events / rates.SUBSAMPLE_EVENTS_PER_CORE_S

        simulated = (f"simulate {s.study}",)
        jobs += [
            Job(f"simulate {s.study}", simulate_s, threads.simulate),
            Job(f"subsample {s.study}", subsample_s, 1, simulated),
            Job(f"corrections {s.study}", corrections_s, threads.reconstruct, simulated),
        ]

        before = (f"subsample {s.study}", f"corrections {s.study}")
        for protocol in roles.protocols(s.role, config):
            for number, share in enumerate(roles.fractions(s.role, config)):
                seconds = job_sizes.recon_core_s(config, protocol, [share]) / threads.reconstruct
                job = Job(
                    f"reconstruct {s.study} {protocol} {number}",
                    seconds,
                    threads.reconstruct,
                    before,
                )
                images.setdefault((s.study, protocol), []).append(job.name)
                jobs.append(job)
    return jobs + _networks(config, table, images)


def _networks(
    config: Config, table: list[studies.Study], images: Mapping[tuple[str, str], list[str]]
) -> list[Job]:
    online = [s.study for s in studies.with_role(table, "test_bladder", "test_catheter")]
    tests = [s for s in table if s.role.startswith("test_")]
    tasks = {f"n2n {study}": images[study, "v2"] for study in online}
    for task, role, protocol in (
        ("v1", "train_v1v2", "v1"),
        ("v2", "train_v1v2", "v2"),
        ("adapt", "adapt", "v2"),
    ):
        tasks[task] = [
            name for s in studies.with_role(table, role) for name in images[s.study, protocol]
        ]
    jobs = [Job(f"dataset {task}", 60.0, 1, tuple(made)) for task, made in tasks.items()]
    bases = {e.base for e in config.networks.values() if e.method == "tgd"} | {config.score.network}
    for name, entry in config.networks.items():
        for study in online if entry.data == "n2n" else [""]:
            after = [f"dataset {entry.data} {study}".strip()]
            if entry.base:
                after.append(
                    f"score {entry.base}" if entry.method == "tgd" else f"network {entry.base}"
                )
            if needs_old_data(entry, config.adapt):
                after.append(f"dataset {old_task(name, config.networks)}")
            seconds = job_sizes.training_s(config, table, name, 1, 1)
            jobs.append(Job(f"network {name} {study}".strip(), seconds, 0, tuple(after)))
        if name in bases:
            jobs.append(
                Job(f"score {name}", job_sizes.scoring_core_s(config), 1, (f"network {name}",))
            )
    for s in tests:
        entries = {n: e for n, e in config.networks.items() if e.data != "n2n" or s.study in online}
        made = [
            f"network {n} {s.study}" if e.data == "n2n" else f"network {n}"
            for n, e in entries.items()
        ]
        inputs = [x for p in roles.protocols(s.role, config) for x in images[s.study, p]]
        n_images = len(inputs) * len(entries)

        seconds = job_sizes.denoising_s(config, n_images, 1, 1)
        jobs.append(Job(f"denoise {s.study}", seconds, 0, (*made, *inputs)))

        evaluation_s = job_sizes.evaluation_core_s(config, n_images)
        jobs.append(Job(f"evaluate {s.study}", evaluation_s, 1, (f"denoise {s.study}",)))
    last = tuple(f"evaluate {s.study}" for s in tests)
    return [*jobs, Job("figures", rates.FIGURE_S * (len(drawn(config)) + 1), 1, last)]


def ways_to_the_end(jobs: Iterable[Job]) -> dict[str, float]:
    """Seconds from the start of each job to the end of all, where nothing is ever waited for but
    other jobs.
    """
    jobs = {job.name: job for job in jobs}
    followers: dict[str, list[str]] = {name: [] for name in jobs}
    for job in jobs.values():
        for before in job.after:
            followers[before].append(job.name)
    ways: dict[str, float] = {}
    for name in reversed(_in_order(jobs)):
        ways[name] = (
            jobs[name].seconds + OVERHEAD_S + max((ways[f] for f in followers[name]), default=0.0)
        )
    return ways


def _in_order(jobs: Mapping[str, Job]) -> list[str]:
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        if name not in order:
            for before in jobs[name].after:
                visit(before)
            order[name] = None

    for name in jobs:
        visit(name)
    return list(order)


def makespan(jobs: Iterable[Job], nodes: int, gpus: int) -> float:
    """Seconds until all jobs are done on so many CPU nodes and GPUs; a job's cores lie on one
    node.
    """
    todo = {job.name: job for job in jobs}
    ways, waits = (
        ways_to_the_end(todo.values()),
        {name: set(job.after) for name, job in todo.items()},
    )
    ready, running, free, idle_gpus, now = (
        [n for n, w in waits.items() if not w],
        [],
        [CORES] * nodes,
        gpus,
        0.0,
    )
    while ready or running:
        for name in sorted(ready, key=lambda n: -ways[n]):
            job = todo[name]
            place = -1 if job.cores == 0 else max(range(nodes), key=free.__getitem__)
            if (idle_gpus if place < 0 else free[place]) < max(job.cores, 1):
                continue
            idle_gpus -= place < 0
            if place >= 0:
                free[place] -= job.cores
            ready.remove(name)
            heapq.heappush(running, (now + job.seconds + OVERHEAD_S, name, place))
        now, name, place = heapq.heappop(running)
        idle_gpus += place < 0
        if place >= 0:
            free[place] += todo[name].cores
        del waits[name]
        for follower, others in waits.items():
            if name in others:
                others.discard(name)
                if not others:
                    ready.append(follower)
    return now


def paper() -> list[Job]:
    """The jobs of config/paper.yaml over config/config.yaml."""
    raw: dict[str, Any] = {}
    for name in ("config", "paper"):
        for key, value in yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text()).items():
            both = isinstance(value, dict) and isinstance(raw.get(key), dict)
            raw[key] = {**raw[key], **value} if both else value
    config = load_config(raw)
    return jobs_of(config, studies.read_studies(ROOT / config.studies))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for schedule.csv and schedule.png"
    )
    args = parser.parse_args()
    jobs = paper()
    least = max(ways_to_the_end(jobs).values())
    rows = [(gpus, nodes, makespan(jobs, nodes, gpus) / 3600) for gpus in GPUS for nodes in NODES]
    table = pd.DataFrame(rows, columns=["gpus", "nodes", "makespan_h"]).assign(
        critical_path_h=least / 3600
    )
    table.to_csv(args.out / "schedule.csv", index=False, float_format="%.4g")
    draw(table, args.out / "schedule.png")
    print(table.pivot(index="nodes", columns="gpus", values="makespan_h").round(1).to_string())
    print(f"critical path {least / 3600:.1f} h; {len(jobs)} jobs")


def draw(table: pd.DataFrame, path: Path) -> None:
    """Makespan against CPU nodes, one line a number of GPUs."""
    from matplotlib import pyplot as plt

    from tgdpet.figures.style import GREY, PALETTE, styled

    with styled():
        figure, ax = plt.subplots(figsize=(4.8, 3.0), layout="constrained")
        for number, (gpus, own) in enumerate(table.groupby("gpus")):
            words = (
                f"{gpus} GPU{'s' * (gpus > 1)}"  # thinner and thinner, as lines lie on one another
            )
            ax.plot(
                own.nodes,
                own.makespan_h,
                "o-",
                ms=5 - number,
                lw=3 - 0.7 * number,
                color=PALETTE[number],
                label=words,
            )
        least = float(table.critical_path_h.iloc[0])
        ax.axhline(least, color=GREY, ls="--", lw=0.9)
        where = (table.nodes.min(), least)
        ax.annotate(
            "longest chain of jobs", where, (0, -10), textcoords="offset points", color=GREY
        )
        ax.set(xscale="log", xlabel=f"CPU nodes of {CORES} cores", ylabel="makespan, h")
        ax.set_ylim(0, 1.08 * table.makespan_h.max())
        shown = [n for n in NODES if n & (n - 1) == 0]
        ax.set_xticks(shown, labels=[str(n) for n in shown])
        ax.minorticks_off()
        ax.legend()
        figure.savefig(path, dpi=200)


if __name__ == "__main__":
    main()
