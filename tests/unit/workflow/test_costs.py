"""The bill: the paper's counts, sums that hold, and growth with what is asked for."""

from __future__ import annotations

import math

import pytest

from tgdpet.config import roles
from tgdpet.config.loading import load_config
from tgdpet.config.roles import ROLES, samples_of
from tgdpet.config.studies import read_studies
from tgdpet.workflow import costs, job_sizes


@pytest.fixture
def bill(root, raw_config):
    def make(name="config", change=None):
        raw = raw_config(name)
        for key, value in (change or {}).items():
            section, _, entry = key.partition(".")
            raw.setdefault(section, {})[entry] = value
        config = load_config(raw)
        rows = costs.estimate(config, read_studies(root / config.studies))
        return {row.stage: row for row in rows}

    return make


def test_paper_scale_has_the_papers_slices(root, raw_config):
    config = load_config(raw_config("paper"))
    studies = read_studies(root / config.studies)
    assert job_sizes.training_slices(config, studies, "v1") == 30_720 == 20 * 6 * 256
    assert job_sizes.training_slices(config, studies, "adapt") == 7 * 6 * 256
    assert (config.train.epochs, config.adapt.epochs, config.online.epochs) == (500, 500, 150)
    assert config.network.width == 1.0


def test_network_size_is_the_papers():
    assert job_sizes.macs_per_pixel(1.0) == pytest.approx(1.30e6, rel=0.01)


def test_a_network_from_a_file_costs_nothing_nor_does_its_data(bill):
    given = {
        f"networks.{n}": {"data": n[:2], "weights": f"{n}.safetensors"}
        for n in ("v1-net", "v2-net")
    }
    first = bill(change={"networks.v1-net": given["networks.v1-net"]})
    assert (first["train"].jobs, first["simulate"].jobs) == (1, 13)
    assert first["reconstruct"].jobs == bill()["reconstruct"].jobs - 6
    assert first["dataset"].jobs == bill()["dataset"].jobs - 1
    both = bill(change=given)
    assert (both["train"].jobs, both["simulate"].jobs, both["subsample"].jobs) == (0, 7, 7)
    assert both["reconstruct"].jobs == first["reconstruct"].jobs - 6 - 6
    assert both["adapt"] == bill()["adapt"]


def test_jobs_follow_studies_and_networks(bill):
    rows = bill()
    assert rows["simulate"].jobs == 13
    assert rows["reconstruct"].jobs == 13 + 6 * 2 + 3 + 2 + 2 + 1 + 1
    assert rows["train"].jobs == 2
    assert rows["adapt"].jobs == 2 + 2 * 2
    assert rows["denoise"].jobs == 4
    assert (
        bill(change={"resources.recon_jobs": "image"})["reconstruct"].jobs
        == 13 + 6 * 2 * 7 + 3 * 7 + 2 * 11 + 2 * 2 + 4 + 4
    )


@pytest.mark.parametrize("role", ROLES)
def test_images_are_those_that_subsampling_makes(raw_config, role):
    config = load_config(raw_config())
    samples = samples_of(role, config.sampling, config.simulation.scan_s)
    assert sorted(roles.fractions(role, config)) == pytest.approx(
        sorted(s.fraction for s in samples)
    )


def test_costs_grow_with_what_is_asked_for(bill):
    base, halved = bill(), bill(change={"train.epochs": 14})
    assert bill(change={"train.epochs": 28})["train"].gpu_h == pytest.approx(
        2 * halved["train"].gpu_h
    )
    assert (
        bill(change={"network.width": 0.5})["train"].gpu_h == base["train"].gpu_h
    )  # both only start kernels
    assert (
        bill(change={"network.width": 4, "train.batch": 32})["train"].gpu_h
        > 3.5 * bill(change={"network.width": 2, "train.batch": 32})["train"].gpu_h
    )
    assert bill(change={"scanner.efficiency": 0.16})["simulate"].temporary_gb == pytest.approx(
        4 * base["simulate"].temporary_gb
    )
    assert bill(change={"simulation.scan_s": 1200})["simulate"].temporary_gb == pytest.approx(
        2 * base["simulate"].temporary_gb
    )


def test_text_has_a_row_a_stage_and_the_sum(bill):
    rows = list(bill("paper").values())
    lines = costs.bill_text(rows).splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == [*(row.stage for row in rows), "total"]
    assert int(lines[-2].split()[1].replace(",", "")) == sum(row.jobs for row in rows)
    assert all(len(line) < 120 for line in lines)
    assert all(math.isfinite(row.core_h) and row.core_h > 0 for row in rows)


def test_baselines_cost_what_they_train(root, raw_config):
    config = load_config(raw_config("baselines"))
    studies = read_studies(root / config.studies)
    plain = job_sizes.training_flop(config, studies, "FT-all")
    new, old = (job_sizes.training_slices(config, studies, data) for data in ("adapt", "v1"))
    share = {
        "L2-SP": 4,
        "LwF": 4 * 8 / 6,
        "EWC": 4,
        "TGD-L1": 1,
        "joint": (new + old) / new,
        "replay": (new + 0.1 * old) / new,
    }
    for name, times in share.items():
        assert job_sizes.training_flop(config, studies, name) == pytest.approx(times * plain), name


def test_online_networks_from_scratch_are_one_a_study(bill):
    extra, base = bill("baselines"), bill()
    assert extra["train"].jobs == base["train"].jobs + 2
    assert extra["adapt"].jobs == base["adapt"].jobs + 10 + 2


def test_the_bill_of_several_runs_is_that_of_one_so_many_times(root, raw_config):
    config = load_config(raw_config("config"))
    rows = costs.estimate(config, read_studies(root / config.studies))
    assert costs.times(rows, 1) == rows
    assert costs.peak_gb(costs.times(rows, 3)) == pytest.approx(3 * costs.peak_gb(rows))
    assert [row.jobs for row in costs.times(rows, 3)] == [3 * row.jobs for row in rows]


def test_the_headline_counts_and_tells_the_time(root, raw_config):
    config = load_config(raw_config())
    studies = read_studies(root / config.studies)
    rows = [costs.Cost("train", 1, core_h=5.0), costs.Cost("adapt", 1, core_h=1.0)]

    def lines(runs, cores):
        return costs.headline("my.yaml", config, studies, runs, rows, cores).splitlines()

    what = f"{len(studies)} studies, {len(config.networks)} networks"
    assert lines(1, 2) == [
        "Configuration: my.yaml",
        f"{what}: about 3.0 h on 2 cores, if nothing is there yet.",
    ]
    assert lines(3, None)[1] == f"{what}, 3 seeds: 6.0 h of one core, if nothing is there yet."
    assert "1 study, " in costs.headline("x", config, studies[:1], 1, rows, 1)
    assert " about 6.0 h on 1 core, " in lines(1, 1)[1]
