"""The workflow as others use it: from another folder, as a module, deployed, not activated."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMOKE = ROOT / "config/smoke.yaml"
MODULE = """
configfile: "{root}/config/config.yaml"
configfile: "{root}/config/smoke.yaml"

module tgdpet:
    snakefile: "{snakefile}"
    config: config

use rule * from tgdpet as t_*
"""


def run(folder: Path, *words: str | Path, **environment: str) -> str:
    """What Snakemake says in a folder; it has to succeed."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--nolock", *words]
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={**os.environ, **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


def planned(text: str) -> dict[str, int]:
    """Rule -> number of jobs, from the table of a dry run."""
    rows = re.findall(r"^(\w+) +(\d+)$", text, flags=re.M)
    return {rule: int(number) for rule, number in rows}


def n_jobs(plan: dict[str, int], prefix: str = "") -> dict[str, int]:
    """The jobs of a plan without what is there already, their rules' names without `prefix`."""
    return {rule.removeprefix(prefix): n for rule, n in plan.items() if rule != "total"}


@pytest.fixture(scope="module")
def said_in_checkout(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dry run of the smoke run as it is in the checkout, all to be made."""
    results = tmp_path_factory.mktemp("plan") / "results"
    return run(ROOT, "-n", "--configfile", SMOKE, "--config", f"results={results}")


@pytest.fixture(scope="module")
def in_checkout(said_in_checkout: str) -> dict[str, int]:
    """Its plan."""
    return planned(said_in_checkout)


@pytest.mark.parametrize("snakefile", ["Snakefile", "workflow/Snakefile"])
def test_another_working_folder_plans_the_same(tmp_path: Path, in_checkout, snakefile: str):
    words = ("--snakefile", ROOT / snakefile, "--directory", tmp_path / "there")
    (tmp_path / "there").mkdir()
    assert planned(run(tmp_path, "-n", *words, "--configfile", SMOKE)) == in_checkout


@pytest.mark.parametrize("snakefile", ["Snakefile", "workflow/Snakefile"])
def test_a_module_with_a_prefix_plans_the_same(tmp_path: Path, in_checkout, snakefile: str):
    text = MODULE.format(root=ROOT, snakefile=ROOT / snakefile)
    (tmp_path / "Snakefile").write_text(text)
    plan = planned(run(tmp_path, "-n"))

    assert n_jobs(plan, "t_") == n_jobs(in_checkout)
    assert "t_all" in plan


def test_a_stage_of_a_module_is_found_by_its_name(tmp_path: Path):
    text = MODULE.format(root=ROOT, snakefile=ROOT / "workflow/Snakefile")
    (tmp_path / "Snakefile").write_text(text)
    until = planned(run(tmp_path, "-n", "--until", "t_reconstruct"))
    assert {"t_reconstruct_lesion", "t_reconstruct_training"} <= set(until)
    assert not {"t_dataset_v1", "t_train", "t_all"} & set(until)


def test_a_module_without_a_configuration_says_so(tmp_path: Path):
    text = MODULE.format(root=ROOT, snakefile=ROOT / "workflow/Snakefile")
    (tmp_path / "Snakefile").write_text(re.sub("configfile: .*", "", text))
    with pytest.raises(AssertionError, match=r"no networks: the workflow's configuration is miss"):
        run(tmp_path, "-n")


@pytest.fixture
def hosted(tmp_path: Path) -> dict[str, str]:
    """An environment in which github.com is a folder that holds this checkout as a repository."""
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    repository = tmp_path / "github/owner/tgdpet"
    for name in files:
        if name.startswith(("Snakefile", "workflow/", "scripts/", "config/", "profiles/")):
            (repository / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, repository / name)

    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"], ["tag", "v1"]):
        subprocess.run(["git", *author, *words], cwd=repository, check=True)

    return {
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": f"url.file://{tmp_path}/github/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
        "GIT_CONFIG_KEY_1": "safe.directory",
        "GIT_CONFIG_VALUE_1": "*",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }


def test_a_deployed_workflow_plans_the_same(tmp_path: Path, in_checkout, hosted):
    pytest.importorskip("snakedeploy", reason="pip install '.[standards]'")
    deployed = tmp_path / "deployed"
    words = ["deploy-workflow", "https://github.com/owner/tgdpet", str(deployed), "--tag", "v1"]
    call = "import sys; from snakedeploy.client import main; sys.argv[0] = 'snakedeploy'; main()"
    done = subprocess.run(
        [sys.executable, "-c", call, *words],
        env={**os.environ, **hosted},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (deployed / "workflow/Snakefile").exists(), done.stderr

    said = run(deployed, "-n", "--configfile", "config/smoke.yaml", **hosted)
    assert planned(said) == in_checkout


@pytest.mark.slow
def test_a_module_runs_in_a_folder_of_its_own(tmp_path: Path):
    """An image is made of nothing but what the module brings, by the interpreter that runs
    Snakemake, which is not on the path.
    """
    text = MODULE.format(root=ROOT, snakefile=ROOT / "workflow/Snakefile")
    (tmp_path / "Snakefile").write_text(text)
    image = "results/smoke/recon/sub-highbmi/pet/sub-highbmi_trc-FDG_rec-v2_desc-60s_pet.nii.gz"
    run(tmp_path, image, PATH="/usr/bin:/bin")

    assert (tmp_path / image).exists()
    assert {path.name for path in tmp_path.iterdir()} == {"Snakefile", ".snakemake", "results"}


def test_nested_values_of_the_command_line_are_read_as_yaml(tmp_path: Path):
    said = run(
        ROOT,
        *("-n", "-p", "--configfile", SMOKE, "--config", f"results={tmp_path}"),
        "networks={TGD-net: {phi: 0.4}}",
        "train={epochs: 3}",
        "sampling={levels_s: [60, 120]}",
    )
    (adapted,) = [line for line in said.splitlines() if " --name TGD-net " in line]
    assert "--phi 0.4" in adapted and "--fraction " not in adapted
    assert all(
        "--epochs 3 " in line for line in said.splitlines() if "python scripts/05_train.py" in line
    )
    assert "desc-120s" in said and "desc-180s" not in said


def test_one_name_means_all_rules_of_a_stage(tmp_path: Path):
    words = ("-n", "--configfile", SMOKE, "--config", f"results={tmp_path}")
    plan = planned(run(ROOT, *words, "--until", "reconstruct"))
    of_roles = {rule for rule in plan if rule.startswith("reconstruct_")}

    assert of_roles == {
        f"reconstruct_{role}" for role in ("training", "lesion", "high_bmi", "online")
    }
    assert set(plan) - of_roles == {"compile", "simulate", "subsample", "corrections", "total"}
    seeds = planned(run(ROOT, *words, "seeds=[3,4]", "--until", "reconstruct"))
    assert {f"seed{seed}{rule}" for seed in (3, 4) for rule in of_roles} <= set(seeds)


def test_the_first_lines_say_what_is_run_and_how_long(said_in_checkout: str):
    first = ("Configuration:", "7 studies")
    own = [line for line in said_in_checkout.splitlines() if line.startswith(first)]

    assert own[0] == f"Configuration: config/config.yaml + {SMOKE}"
    assert re.fullmatch(
        r"7 studies, 6 networks: about \d+ min on 2 cores, if nothing is there yet\.", own[1]
    )


def test_rules_name_the_workflows_files_wherever_it_runs():
    for path in (ROOT / "workflow").rglob("*.smk"):
        bare = re.findall(r'(?<!source\()"(?:scripts|workflow)/[^"]*"', path.read_text())
        assert not bare, f"{path.name}: {bare}: expected source(...)"
