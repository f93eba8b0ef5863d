"""The simulated schedule: small ones known by heart, and the paper's against the bill."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from tgdpet.config.loading import load_config
from tgdpet.config.studies import read_studies
from tgdpet.figures import drawn
from tgdpet.workflow import costs


@pytest.fixture
def schedule(root, monkeypatch):
    spec = importlib.util.spec_from_file_location("schedule", root / "benchmarks/schedule.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "schedule", module)
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "OVERHEAD_S", 0.0)
    return module


def test_small_schedules(schedule):
    job = schedule.Job
    chain = [job("a", 10, 16), job("b", 5, 0, ("a",)), job("c", 1, 1, ("b",))]
    assert schedule.makespan(chain, 1, 1) == schedule.makespan(chain, 8, 8) == 16
    four = [job(str(i), 10, 16) for i in range(4)]  # two fit on a node of 32 cores
    assert [schedule.makespan(four, n, 1) for n in (1, 2, 4)] == [20, 10, 10]
    nets = [job(str(i), 10, 0) for i in range(4)]
    assert [schedule.makespan(nets, 1, n) for n in (1, 2, 3, 4)] == [40, 20, 20, 10]
    wide = [job(str(i), 10, 20) for i in range(2)]  # a job's cores lie on one node: 20 + 20 > 32
    assert schedule.makespan(wide, 1, 1) == 20


def test_the_longest_chain_goes_first(schedule):
    job = schedule.Job
    jobs = [job("short", 10, 32), job("first", 10, 32), job("long", 30, 0, ("first",))]
    assert schedule.makespan(jobs, 1, 1) == 40


def test_paper_scale_has_the_bills_jobs_and_stops_at_the_longest_chain(schedule, root, raw_config):
    jobs = schedule.paper()
    config = load_config(raw_config("paper"))
    bill = sum(row.jobs for row in costs.estimate(config, read_studies(root / config.studies)))
    left_out = 3 + len(
        drawn(config)
    )  # the drop experiment, the table of all measures, the findings, figures but one
    assert len(jobs) == bill - left_out
    least = max(schedule.ways_to_the_end(jobs).values())
    spans = [schedule.makespan(jobs, n, g) for n, g in ((1, 1), (4, 2), (64, 8))]
    assert spans[0] > spans[1] > spans[2] >= least
    assert spans[2] == pytest.approx(least, rel=0.01)
