"""The profiles for clusters: what their jobs ask for, at every scale, without a cluster."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest
import yaml

from plans import jobs
from tgdpet.figures import TOGETHER

ROOT = Path(__file__).resolve().parents[2]
SCALES = {"smoke": ["config/smoke.yaml"], "paper": ["config/paper.yaml"]}
OF_IMAGES = {"denoise_found"}  # of studies that come as images, which no such plan has
USES_GPU = re.compile(r"(seed\d+)?(train|adapt|drop|denoise|sweep)")


@pytest.mark.parametrize("engine", ["slurm", "lsf"])
@pytest.mark.parametrize("scale", SCALES)
def test_only_rules_that_use_a_gpu_go_to_its_partition(snakemake, tmp_path, engine, scale):
    queue = {"slurm": "slurm_partition", "lsf": "lsf_queue"}[engine]
    words = ["--workflow-profile", f"profiles/{engine}", "--configfile", *SCALES[scale]]
    done = snakemake("-n", *words, "--config", f"results={tmp_path / 'none'}")
    assert done.returncode == 0, done.stdout[-3000:]
    planned = jobs(done.stdout)
    assert len(planned) > 70
    assert_gpu_jobs(planned, queue)


def assert_gpu_jobs(planned, queue):
    for name, job in planned.items():
        uses = USES_GPU.match(job["rule"]) is not None
        assert (job[queue] == "gpu") == uses, name
        assert job.get("gpu", "0") == str(int(uses)), name
        assert {"mem_mb", "runtime", "disk_mb"} <= set(job), name


def test_a_study_of_several_seeds_asks_for_the_same(snakemake, tmp_path):
    """Its rules have other names: seed1train; a profile says train."""
    for engine, queue in (("slurm", "slurm_partition"), ("lsf", "lsf_queue")):
        words = ["--workflow-profile", f"profiles/{engine}", "--configfile", "config/smoke.yaml"]
        one = snakemake("-n", *words, "--config", f"results={tmp_path}/none").stdout
        done = snakemake("-n", *words, "--config", f"results={tmp_path}/none", "seeds=[1,2]")
        assert done.returncode == 0, done.stdout[-3000:]
        planned = jobs(done.stdout)
        assert len(planned) == 2 * len(jobs(one)) + 3 + len(
            TOGETHER
        )  # tables, report and figures of all seeds
        assert_gpu_jobs(planned, queue)
        for group in ("finish", "subsample"):
            assert done.stdout.count(f"Group job {group} ") == 2 * one.count(
                f"Group job {group} "
            ), (engine, group)
        assert one.count("Group job finish ") == int(engine == "slurm")
        (total,) = re.findall(r"^total +(\d+) ", done.stdout, re.M)[:1]  # one bill, of both
        assert int(total) == 2 * int(re.findall(r"^total +(\d+) ", one, re.M)[0])


def test_every_rule_of_the_gpu_block_exists_and_none_is_left_out(snakemake, tmp_path):
    """In a plan with all roles and networks from scratch on single studies."""
    words = [
        "--configfile",
        "config/smoke.yaml",
        "config/baselines.yaml",
        "--config",
        f"results={tmp_path / 'none'}",
    ]
    rules = {job["rule"] for job in jobs(snakemake("-n", *words).stdout).values()}
    for engine in ("slurm", "lsf"):
        profile = yaml.safe_load((ROOT / "profiles" / engine / "profile.yaml").read_text())
        planned = {rule for rule in rules if USES_GPU.match(rule)}
        assert set(profile["set-resources"]) == planned | OF_IMAGES
        assert set(profile.get("groups", {})) <= rules


def test_each_file_has_its_five_lines_to_edit():
    for engine in ("slurm", "lsf"):
        text = (ROOT / "profiles" / engine / "profile.yaml").read_text()
        assert sorted(re.findall(r"# (\d)\. ", text)) == list("12345"), engine


def test_no_gpu_is_asked_for_with_device_cpu_and_without_the_block(snakemake, tmp_path):
    profile = yaml.safe_load((ROOT / "profiles/slurm/profile.yaml").read_text())
    del profile["set-resources"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/profile.yaml").write_text(yaml.safe_dump(profile))
    words = [
        "--configfile",
        "config/smoke.yaml",
        "--config",
        f"results={tmp_path / 'none'}",
        "device=cpu",
    ]
    planned = jobs(snakemake("-n", "--workflow-profile", tmp_path / "mine", *words).stdout)
    assert planned and all(
        job.get("gpu", "0") == "0" and job["slurm_partition"] == "cpu" for job in planned.values()
    )


def test_gpus_of_a_training_that_a_profile_does_not_ask_for_are_refused(snakemake, tmp_path):
    (tmp_path / "two.yaml").write_text("resources: {gpus: 2}\n")
    words = [
        "--configfile",
        "config/smoke.yaml",
        tmp_path / "two.yaml",
        "--config",
        f"results={tmp_path / 'none'}",
    ]
    done = snakemake("-n", "--workflow-profile", "profiles/slurm", *words)
    assert done.returncode != 0
    assert "resources.gpus: 2, but the profile asks for gpu: 1 for train" in done.stdout, (
        done.stdout
    )
    profile = yaml.safe_load((ROOT / "profiles/slurm/profile.yaml").read_text())
    profile["set-resources"]["train"]["gpu"] = 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/profile.yaml").write_text(yaml.safe_dump(profile))
    done = snakemake("-n", "--workflow-profile", tmp_path / "mine", *words)
    assert done.returncode != 0 and "allows gpu: 1 (resources)" in done.stdout, done.stdout
    profile["resources"]["gpu"] = 2
    (tmp_path / "mine/profile.yaml").write_text(yaml.safe_dump(profile))
    planned = jobs(snakemake("-n", "--workflow-profile", tmp_path / "mine", *words).stdout)
    assert {job["gpu"] for job in planned.values() if job["rule"] == "train"} == {"2"}


STAND_INS = {
    "badmin": "echo header\necho ' LSB_SHAREDIR = {0}'\necho ' LSF_CONFDIR = {0}'\n"
    "echo ' LSF_UNIT_FOR_LIMITS = MB'",
    "lsclusters": "echo CLUSTER_NAME\necho mine ok",
    "bsub": 'echo "$*" >> {0}/bsub.txt\necho "no such user"\nexit 255',
    "bhist": "echo 'Project <mine>'",
}


def test_what_lsf_is_asked_for(snakemake, tmp_path, monkeypatch):
    """With stand-ins for LSF's commands: the bsub line of one job, which the stand-in refuses."""
    (tmp_path / "bin").mkdir()
    for name, text in STAND_INS.items():
        path = tmp_path / "bin" / name
        path.write_text("#!/bin/sh\n" + text.format(tmp_path) + "\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "lsbatch/mine/configdir").mkdir(parents=True)
    (tmp_path / "lsbatch/mine/configdir/lsb.params").write_text("DEFAULT_QUEUE = other\n")
    (tmp_path / "mine/logdir").mkdir(parents=True)
    (tmp_path / "mine/logdir/lsb.events").touch()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    words = [
        "--workflow-profile",
        "profiles/lsf",
        "--configfile",
        "config/smoke.yaml",
        "--retries",
        "0",
    ]
    results = tmp_path / "results"
    done = snakemake(results / "compiled.txt", *words, "--config", f"results={results}")
    (line,) = (tmp_path / "bsub.txt").read_text().splitlines()
    assert (
        "-q normal" in line and "-W 10" in line and "-n 1" in line and "rusage[mem=1000" in line
    ), line
    assert done.returncode != 0 and "no such user" in done.stdout
