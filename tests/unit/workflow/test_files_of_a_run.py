"""Where the files of a run lie, and which of them findings and figures are made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tgdpet.config.loading import load_config
from tgdpet.config.paths import RunFiles, image_path
from tgdpet.config.sections import Config, NetworkEntry
from tgdpet.config.studies import Study, read_studies
from tgdpet.evaluation.inputs import all_timed_jobs, findings_files, timed_files
from tgdpet.evaluation.results import reconstructed_samples
from tgdpet.figures import FIGURES
from tgdpet.figures.inputs import figure_files, report_files
from tgdpet.workflow.snakemake_internals import of_every_seed

ENDS = (".json", "_log.csv")


@pytest.fixture
def run(root, raw_config, tmp_path):
    config = load_config(raw_config())
    return RunFiles(tmp_path, config, read_studies(root / config.studies))


def test_a_networks_files_lie_by_how_it_is_made(run, tmp_path):
    assert run.weights_path("v1-net") == tmp_path / "models/v1-net.safetensors"
    assert run.weights_path("TGD-net") == tmp_path / "adapted/TGD-net.safetensors"
    online = tmp_path / "adapted/TGD-N2N"
    assert run.weights_path("TGD-N2N", "bladder01") == online / "bladder01.safetensors"
    assert run.training_log("TGD-N2N", "bladder01") == online / "bladder01_log.csv"

    entry = NetworkEntry("train", "v1", weights="own/net.safetensors")
    config = replace(run.config, networks={**run.config.networks, "v1-net": entry})
    given = replace(run, config=config)
    assert given.weights_path("v1-net") == Path("own/net.safetensors")
    assert "v1-net" not in dict(given.trainings())


def test_a_benchmark_that_was_taken_away_is_no_reason_to_train_again(run):
    benchmarks = {job.benchmark for job in all_timed_jobs(run)}
    logs = {job.log for job in all_timed_jobs(run) if job.log}
    assert set(timed_files(run)) == benchmarks | logs
    assert timed_files(run, finished=True) == []

    result = run.weights_path("v2-net")
    result.parent.mkdir()
    result.touch()
    assert benchmarks - set(timed_files(run)) == {run.benchmark_path("train", "v2-net")}

    benchmark = run.benchmark_path("train", "v2-net")
    benchmark.parent.mkdir(parents=True)
    benchmark.touch()
    assert set(timed_files(run)) == benchmarks | logs
    assert timed_files(run, finished=True) == [benchmark]


def test_times_of_what_a_configuration_does_not_make_are_not_asked_for(run):
    """v2-net from a file: no v2 images of training studies, no v2 training set, no training."""
    entry = NetworkEntry("train", "v2", weights="own/net.safetensors")
    config = replace(run.config, networks={**run.config.networks, "v2-net": entry})
    names = {path.name for path in timed_files(replace(run, config=config))}

    assert "adapt.tsv" in names and "TGD-net.tsv" in names and "adapt01_v2.tsv" in names
    assert not {"v2.tsv", "v2-net.tsv", "train01_v2.tsv"} & names


def test_findings_are_made_from_the_ways_of_adaptations_where_they_are_logged(run, tmp_path):
    ways = {tmp_path / f"adapted/{n}{end}" for n in ("FT-net", "TGD-net") for end in ENDS}
    assert not ways & set(findings_files(run))

    adapt = replace(run.config.adapt, log_old=True)
    logged = replace(run, config=replace(run.config, adapt=adapt))
    assert ways < set(findings_files(logged))
    assert ways == set(figure_files("gain_paths", logged))


def test_each_image_is_a_job_of_its_own_by_the_configuration(run):
    resources = replace(run.config.resources, recon_jobs="image")
    images = replace(run, config=replace(run.config, resources=resources))
    role = next(s.role for s in run.studies if s.study == "adapt01")

    together = run.recon_benchmarks("adapt01", role, "v2")
    assert [path.name for path in together] == ["adapt01_v2.tsv"]
    each = images.recon_benchmarks("adapt01", role, "v2")
    assert len(each) == len(run.sample_names(role)) and each == sorted(each)


def test_every_figure_and_the_report_name_files_of_this_run_once(run, tmp_path):
    for name in FIGURES:
        files = figure_files(name, run)
        assert len(files) == len(set(files)) and (files or name in ("timing", "gain_paths")), name
        assert all(path.is_relative_to(tmp_path) for path in files), name

    assert tmp_path / "denoised/TGD-net" in figure_files("fig5", run)[-1].parents
    assert tmp_path / "models/v1-net.json" in report_files(tmp_path, [run])
    together = report_files(tmp_path.parent, [run])
    assert tmp_path.parent / "figures/gain.png" in together
    assert tmp_path.parent / "figures/fig5.png" not in together


def test_what_a_profile_says_of_a_rule_holds_for_every_seed():
    settings = of_every_seed({"train": {"gpu": 1}, "seed2train": {"gpu": 2}}, [1, 2])
    assert settings["train"] == settings["seed1train"] == {"gpu": 1}


def test_images_are_named_after_their_tracer(tmp_path):
    config = Config(results=str(tmp_path))
    studies = [Study("a", "adapt", "petsird", 21, 1, "x.petsird", tracer="PSMA11")]
    path = RunFiles(tmp_path, config, studies).image_path("a", "v2", "60s")
    assert path.name == "sub-a_trc-PSMA11_rec-v2_desc-60s_pet.nii.gz"

    # those who do not know the tracer find what is there
    assert image_path(tmp_path / "recon", "a", "v2", "60s").name.startswith("sub-a_trc-FDG_")
    path.parent.mkdir(parents=True)
    path.touch()
    assert image_path(tmp_path / "recon", "a", "v2", "60s") == path
    assert reconstructed_samples(tmp_path / "recon", "a", "v2") == ["60s"]
