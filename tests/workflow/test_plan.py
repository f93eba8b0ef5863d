"""The plan: what runs at which scale, and what is refused before the first job."""

from __future__ import annotations

import re

import pytest
import yaml

from plans import jobs
from tgdpet.networks import weights
from tgdpet.networks.dncnn import DnCNN


def test_default_plan_names_every_stage(snakemake, tmp_path):
    done = snakemake("-n", "--quiet", "rules", "--config", f"results={tmp_path}")
    assert done.returncode == 0, done.stdout
    for rule in (
        "simulate",
        "subsample",
        "corrections",
        "train",
        "score",
        "drop",
        "adapt",
        "adapt_online",
        "evaluate",
    ):
        assert f"{rule} " in done.stdout or f"{rule}\n" in done.stdout, rule


def test_baselines_plan_with_the_old_data_that_they_need(snakemake, tmp_path):
    done = snakemake(
        "-n", "-p", "--configfile", "config/baselines.yaml", "--config", f"results={tmp_path}"
    )
    assert done.returncode == 0, done.stdout
    jobs = {
        line.split(" --name ")[1].split()[0]: line
        for line in done.stdout.splitlines()
        if " --name " in line
    }
    for network in ("EWC", "LwF", "L2-SP", "replay", "joint"):
        assert f"--old {tmp_path}/dataset/v1/index.tsv" in jobs[network], network
    for network in ("FT-all", "TGD-random", "N2N-FT", "FT-net", "TGD-net"):
        assert "--old" not in jobs[network], network
    for network, words in {
        "LwF": "--penalty lwf",
        "EWC": "--penalty ewc",
        "joint": "--replay 1",
        "TGD-L1": "--mask l1",
        "N2N-scratch": "05_train.py",
        "FT-all-BN": "--batchnorm train",
        "TGD-layer": "--flow layer",
    }.items():
        assert words in jobs[network], network
    assert (
        f"{tmp_path}/dataset/n2n-" in jobs["N2N-scratch"]
        and "/models/N2N-scratch/" in jobs["N2N-scratch"]
    )


def test_networks_from_files_are_not_trained_nor_their_data_made(snakemake, tmp_path):
    file = tmp_path / "own.safetensors"
    weights.save(file, DnCNN(0.125), weights.Card("own", 0.125, 5000.0))
    out = tmp_path / "results"
    where = ("-n", "-p", "--config", f"results={out}")

    def given(*names):
        path = tmp_path / "given.yaml"
        path.write_text(yaml.safe_dump({"networks": {n: {"weights": str(file)} for n in names}}))
        return snakemake(*where, "--configfile", path)

    done = given("v1-net")
    assert done.returncode == 0, done.stdout
    assert re.findall(r"05_train\.py .*--name (\S+)", done.stdout) == ["v2-net"]
    assert (
        len(re.findall(rf"--base {file} ", done.stdout)) == 2 and f"--network {file}" in done.stdout
    )
    assert (
        f"{out}/dataset/v1/" not in done.stdout and "sub-train01_trc-FDG_rec-v1" not in done.stdout
    )
    both = given("v1-net", "v2-net").stdout
    assert "05_train.py" not in both and "sub-train01" not in both and "sub-adapt01" in both
    every = given("v1-net", "v2-net", "FT-net", "TGD-net").stdout
    assert "sub-adapt01" not in every and "07_adapt.py" in every  # online learning alone
    assert re.findall(r"07_adapt\.py .*--name (FT-net|TGD-net) ", every) == []
    file.write_bytes(file.read_bytes()[:-10])
    assert (
        f"networks.v1-net.weights: {file}: not a readable safetensors file"
        in given("v1-net").stdout
    )
    file.unlink()
    assert f"networks.v1-net.weights: {file}: no such file" in given("v1-net").stdout


def test_a_sweep_trains_each_phi_once_and_is_off_by_default(snakemake, tmp_path):
    where = ("-n", "-p", "--config", f"results={tmp_path}")
    assert not re.search(r"rule (sweep|phi):|TGD-net@", snakemake(*where).stdout)
    at_phi = "networks={TGD-net: {phi: 0.3}}"
    done = snakemake(*where, at_phi, "--configfile", "config/sweep.yaml", "config/baselines.yaml")
    assert done.returncode == 0, done.stdout
    trained = re.findall(r"07_adapt\.py .*--name (TGD-net\S*|FT-all) .*", done.stdout)
    own = [f"TGD-net@{phi:g}" for phi in (0.1, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)]
    assert sorted(trained) == sorted(
        ["TGD-net", "FT-all", *own]
    )  # at 0.3, and all: those of the run itself
    (line,) = re.findall(r"07_sweep\.py .*", done.stdout)
    assert "--phi 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9 1 inf --networks" in line
    assert (
        f"{tmp_path}/adapted/TGD-net@1.safetensors {tmp_path}/adapted/FT-all.safetensors --old"
        in line
    )
    for task in ("v1", "adapt"):
        assert f"{tmp_path}/dataset/{task}/index.tsv" in line
    assert "denoised/TGD-net@" not in done.stdout
    assert f"{tmp_path}/figures/phi.pdf" in done.stdout


def test_a_sweep_leaves_the_other_jobs_of_a_run_as_they_are(snakemake, tmp_path):
    """So that a finished run is extended and not made again."""
    where = ("-n", "-p", "--config", f"results={tmp_path}")
    plain, swept = (
        {
            path: job
            for path, job in jobs(snakemake(*where, *more).stdout).items()
            if job["rule"] not in ("report", "all")
        }
        for more in ((), ("--configfile", "config/sweep.yaml"))
    )
    assert {path: swept[path] for path in plain} == plain
    assert {job["rule"] for path, job in swept.items() if path not in plain} == {
        "adapt",
        "sweep",
        "phi",
        "figure",
    }


def test_a_study_plans_every_stage_for_every_seed(snakemake, tmp_path):
    seeds = tmp_path / "seeds.yaml"
    seeds.write_text(yaml.safe_dump({"seeds": [5, 6], "results": str(tmp_path / "study")}))
    done = snakemake("-n", "-p", "--configfile", "config/smoke.yaml", str(seeds))
    assert done.returncode == 0, done.stdout
    for seed in (5, 6):
        assert f"seed{seed}adapt_online" in done.stdout
        trained = [
            line
            for line in done.stdout.splitlines()
            if f"{tmp_path}/study/seed-{seed}/models/v1-net.saf" in line
        ]
        assert any(f" --seed {seed} " in line for line in trained)
    assert "localrules" not in done.stdout, "a warning of Snakemake's"
    assert (
        f"--results {tmp_path}/study/seed-5 {tmp_path}/study/seed-6"
        f" --out {tmp_path}/study/metrics/phi.csv"
    ) in done.stdout
    assert f"{tmp_path}/study/figures/phi.png" in done.stdout


@pytest.mark.parametrize("seeds", [[1, 1], [-1], ["a"], 3])
def test_seeds_that_cannot_be_are_named(snakemake, tmp_path, seeds):
    config = tmp_path / "seeds.yaml"
    config.write_text(yaml.safe_dump({"seeds": seeds}))
    done = snakemake("-n", "--configfile", str(config))
    assert done.returncode != 0 and "seeds.yaml" in done.stdout and ": seeds: " in done.stdout, (
        done.stdout
    )


def test_paper_scale_plans_and_prints_its_bill(snakemake, tmp_path):
    done = snakemake(
        "-n",
        "--quiet",
        "rules",
        "--configfile",
        "config/paper.yaml",
        "--config",
        f"results={tmp_path / 'none'}",
    )
    assert done.returncode == 0, done.stdout
    assert "GPU h" in done.stdout and "on disk at once" in done.stdout
    # 20 x 7 images x 2 protocols, 7 x 7 adapt, (11 + 2) x 2 tests with both protocols, 4 x 2 online
    planned = {
        line.split()[0]: line.split()[1]
        for line in done.stdout.splitlines()
        if len(line.split()) == 2
    }
    assert planned["reconstruct"] == str(20 * 7 * 2 + 7 * 7 + 11 * 2 + 2 * 2 + 4 * 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"trian": {"epochs": 3}}, ["trian", "train"]),
        ({"train": {"epoch": 3}}, ["train.epoch", "epochs"]),
        ({"train": {"epochs": "many"}}, ["train.epochs", "whole number", "'many'"]),
        ({"networks": {"TGD-net": {"phi": 1.2}}}, ["networks.TGD-net.phi", "1.2", "<= 1"]),
        ({"networks": {"TGD-net": {"base": "v3-net"}}}, ["v3-net"]),
        ({"sampling": {"levels_s": [30, 900]}}, ["levels_s", "900", "600"]),
        ({"studies": "config/nowhere.tsv"}, ["config/nowhere.tsv"]),
        ({"sweep": {"phi": [0.3, 1.01]}}, ["sweep.phi[1]", "1.01", "<= 1"]),
        (
            {"sweep": {"network": "TGDnet", "phi": [0.3]}},
            ["sweep.network", "TGDnet", "did you mean 'TGD-net'"],
        ),
    ],
)
def test_a_wrong_configuration_is_one_clear_line(snakemake, tmp_path, change, words):
    (tmp_path / "my.yaml").write_text(yaml.safe_dump({"results": str(tmp_path / "r"), **change}))
    done = snakemake("-n", "--configfile", tmp_path / "my.yaml")
    assert done.returncode != 0
    lines = [line for line in done.stdout.splitlines() if all(word in line for word in words)]
    assert lines, done.stdout
    assert "Traceback" not in done.stdout


def test_figures_without_results_retrain_nothing(snakemake, tmp_path):
    done = snakemake("-n", "figures", "--config", f"results={tmp_path / 'none'}")
    assert done.returncode != 0
    assert "metrics.csv" in done.stdout
    assert "simulate" not in done.stdout.split("Building DAG")[1]


@pytest.mark.parametrize(
    ("config", "device", "gpu"),
    [
        (["device=cuda"], "cpu", "gpu=0"),
        (["device=cuda", "compute={reconstruct: cuda}"], "cuda", "gpu=1"),
        (["device=cpu", "compute={reconstruct: cuda}"], "cuda", "gpu=1"),
        (["device=cpu"], "cpu", "gpu=0"),
    ],
)
def test_images_are_reconstructed_where_networks_run_unless_said(
    snakemake, tmp_path, config, device, gpu
):
    words = ["--until", "reconstruct_lesion", "--config", f"results={tmp_path}", *config]
    done = snakemake("-n", "-p", *words)
    assert done.returncode == 0, done.stdout
    job = done.stdout.split("rule reconstruct_lesion:")[1]
    assert f"--device {device} --out-dir" in job
    assert gpu in job.split("Shell command" if "Shell command" in job else "python")[0]


def test_a_study_takes_what_is_said_last_for_every_seed(snakemake, tmp_path):
    file = tmp_path / "own.safetensors"
    weights.save(file, DnCNN(0.125), weights.Card("own", 0.125, 5000.0))
    said = f"networks={{TGD-net: {{phi: 0.4}}, FT-net: {{weights: {file}}}}}"
    where = ("--configfile", "config/smoke.yaml", "--config", f"results={tmp_path}/study")
    done = snakemake("-n", "-p", *where, "seeds=[5,6]", said)
    assert done.returncode == 0, done.stdout

    adapted = re.findall(r"07_adapt\.py .*--name (?:TGD-net|FT-net) .*", done.stdout)
    assert len(adapted) == 2
    assert all("--phi 0.4" in line and "--fraction " not in line for line in adapted)
