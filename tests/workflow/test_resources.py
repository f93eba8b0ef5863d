"""What jobs ask for, by the formulas of workflow/rules/resources.smk, against what they took."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from plans import jobs

pytestmark = pytest.mark.xdist_group(
    "smoke"
)  # one process, or each would make a smoke run of its own

# Below these a request is no burden to a cluster; above, it is at most ten times what was needed.
FLOOR = {"mem_mb": 2000, "runtime": 10, "disk_mb": 100}
SNAKEMAKE_MB = 350  # two Snakemakes around the script of a cluster's job


def test_every_job_of_the_smoke_run_asks_for_enough_and_not_for_ten_times_too_much(
    smoke, snakemake
):
    done = snakemake(
        "-n", "--forceall", "--configfile", "config/smoke.yaml", "--config", f"results={smoke}"
    )
    planned = jobs(done.stdout)
    files = list((smoke / "benchmarks").rglob("*.tsv"))
    assert {str(path) for path in files} == set(planned)
    wrong = []
    for path in files:
        took = pd.read_csv(path, sep="\t").iloc[-1]
        sizes = [
            p.stat().st_size
            for p in map(smoke.joinpath, planned[str(path)].get("output", "").split(", "))
            if p.exists()
        ]
        needed = {
            "mem_mb": took["max_rss"] + SNAKEMAKE_MB,
            "runtime": took["s"] / 60,
            "disk_mb": sum(sizes) / 1e6,
        }
        for name, least in needed.items():
            asked = int(planned[str(path)][name])
            most = max(FLOOR[name], 10 * least) if not math.isnan(least) else FLOOR[name]
            if asked < least or asked > most:
                wrong.append(f"{path.name}: {name} {asked}, needed {least:.1f}")
    assert not wrong


def test_each_try_asks_for_more(snakemake, tmp_path):
    words = [
        "-n",
        "--configfile",
        "config/smoke.yaml",
        "--config",
        f"results={tmp_path / 'none'}",
        "--attempt",
    ]
    first, second = (jobs(snakemake(*words, n).stdout) for n in ("1", "2"))
    assert len(first) > 70
    for path, one in first.items():
        for name, growth in {"mem_mb": 1.5, "disk_mb": 1.5, "runtime": 2}.items():
            assert int(second[path][name]) == pytest.approx(growth * int(one[name]), abs=1), (
                path,
                name,
            )


def test_requests_follow_the_configuration(snakemake, tmp_path):
    """Longer scans, finer grids, wider networks and more epochs cost time, memory and disk where
    they are used.
    """
    common = ["-n", "--config", f"results={tmp_path / 'none'}", "device=cpu"]
    base = jobs(snakemake(*common).stdout)

    def grown(change, *asked):
        """How many times as much is asked for after the change, for each rule and name."""
        (tmp_path / "more.yaml").write_text(change)
        more = jobs(snakemake(*common, "--configfile", tmp_path / "more.yaml").stdout)
        # Of several jobs of a rule the last by name: of protocol v2, which is changed below.
        paths = [
            max(path for path, job in base.items() if job["rule"] == rule) for rule, _ in asked
        ]
        return [
            int(more[path][name]) / int(base[path][name])
            for path, (_, name) in zip(paths, asked, strict=True)
        ]

    # Changes that do not meet in one request share a plan, as each takes seconds.
    events = "simulation: {dose_mbq_per_kg: 37.0}"
    disk, memory, time = grown(
        f"{events}\nnetwork: {{width: 2.0}}",
        ("simulate", "disk_mb"),
        ("train", "mem_mb"),
        ("score", "runtime"),
    )
    assert disk > 5 and memory > 1.1 and time > 5
    updates = "protocols: {v2: {iterations: 100}}"
    slower, longer = grown(
        f"{updates}\ntrain: {{epochs: 120}}",
        ("reconstruct_training", "runtime"),
        ("train", "runtime"),
    )
    assert slower > 2 and longer == pytest.approx(10, rel=0.1)
    assert grown("grid: {shape: [224, 224, 128]}", ("corrections", "mem_mb"))[0] > 1.3
