"""What is taken from Snakemake's inside is still there; where this fails, Snakemake has changed."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

from tgdpet.workflow import snakemake_internals as internals

ROOT = Path(__file__).resolve().parents[2]
# Of the Snakefile's language, by Snakemake's documentation.
DOCUMENTED = {"basedir", "current_basedir", "source_path"}

SNAKEFILE = """
import sys

sys.path.insert(0, "{scripts}")
from tgdpet.workflow import snakemake_internals as internals

internals.set_resources_for_seeds(workflow, [1, 2])

rule first:
    output: "first.txt"
    shell: "touch {{output}}"

rule seed1train:
    output: "made.txt"
    threads: 1
    resources: gpu=0
    shell: "echo {{resources.gpu}} {{threads}} > {{output}}"

internals.set_groups_for_seeds(workflow)
internals.read_config_words(workflow)
internals.widen_rule_names(workflow)
internals.set_default_target(workflow, "seed1train")
if internals.is_main_process(workflow):
    print("MAIN figures", internals.only_figures())
    print("CONFIG", internals.config_files(workflow))
    print("CORES", internals.cores(workflow), config["words"]["a"] + 1)
    print("GPUS", *internals.gpus_of_profile(workflow, "train"))

onstart:
    internals.ask_only_when_a_job_ends(workflow)
    print("LIMIT", workflow.scheduler.job_rate_limiter)
"""


@pytest.fixture
def small(tmp_path):
    """`small(*words)`: what Snakemake says of a workflow of two rules that uses all internals."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(scripts=ROOT / "scripts"))
    (tmp_path / "my.yaml").write_text("a: 1\n")

    def call(*words: str) -> str:
        options = ["--cores", "2", "--resources", "gpu=3", "--configfile", "my.yaml"]
        options += ["--config", "words={a: 0.5}"]
        settings = ["--set-resources", "train:gpu=3", "--set-threads", "train=2"]
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", *options, *settings, *words],
            cwd=tmp_path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        version = importlib.metadata.version("snakemake")
        changed = (
            f"Snakemake {version} differs from {internals.VERSION}, which"
            f" scripts/tgdpet/workflow/snakemake_internals.py was written for:\n{done.stdout}"
        )
        assert done.returncode == 0, changed
        return done.stdout

    return call


def test_snakemake_still_has_what_the_workflow_takes_from_its_inside(small, tmp_path):
    said = small()
    assert "MAIN figures False\n" in said
    assert re.search(r"CONFIG \S*my\.yaml\nCORES 2 1\.5\nGPUS 3 3\n", said), said
    assert "LIMIT None" in said
    assert (tmp_path / "made.txt").read_text() == "3 2\n"
    assert not (tmp_path / "first.txt").exists()


def test_a_limit_of_the_users_own_is_kept(small):
    assert "LIMIT <snakemake" in small("--max-jobs-per-timespan", "50/1s")


def test_a_group_by_a_rules_name_holds_for_every_seed(small):
    said = small("-n", "--groups", "train=together")
    assert "group job together" in said.lower(), said


def test_a_word_means_the_rules_of_a_stage_and_of_all_seeds():
    rules = ["reconstruct", "reconstruct_lesion", "adapt", "adapt_online", "seed1adapt"]
    rules += ["seed1reconstruct_lesion", "t_reconstruct_lesion"]

    assert internals.rules_of("reconstruct", rules) == [*rules[:2], "seed1reconstruct_lesion"]
    assert internals.rules_of("adapt", rules) == ["adapt", "seed1adapt"]
    assert internals.rules_of("t_reconstruct", rules) == ["t_reconstruct_lesion"]
    assert internals.rules_of("results/a.nii.gz", rules) == ["results/a.nii.gz"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("1:30", "--config: line 1: '1:30' is 90 in YAML"),
        ("2_1", "--config: line 1: '2_1' is 21 in YAML"),
        ("010", "--config: line 1: '010' is 8 in YAML"),
        ("'open", "--config: not valid YAML"),
    ],
)
def test_nested_values_of_the_command_line_are_read_as_strictly(word, message):
    given = {"train": {"epochs": word}}
    settings = types.SimpleNamespace(config=given)
    workflow = types.SimpleNamespace(config=dict(given), config_settings=settings)
    with pytest.raises(ValueError, match=re.escape(message)):
        internals.read_config_words(workflow)


@pytest.mark.parametrize("before", ["", "--config="])
@pytest.mark.parametrize("value", ["2_1", "010", "1_0.5"])
def test_numbers_of_the_command_line_are_read_as_strictly(monkeypatch, before, value):
    given = {"seed": float(value)}
    settings = types.SimpleNamespace(config=given)
    workflow = types.SimpleNamespace(config=dict(given), config_settings=settings)

    monkeypatch.setattr(internals.sys, "argv", ["snakemake", "--config", f"{before}seed={value}"])
    with pytest.raises(ValueError, match=rf"--config seed: line 1: '{value}' is .* in YAML"):
        internals.read_config_words(workflow)

    monkeypatch.setattr(internals.sys, "argv", ["snakemake", "--config", f"{before}seed=21"])
    internals.read_config_words(workflow)


def test_what_until_means_is_changed_before_the_plan(small, tmp_path):
    small("--until", "first")
    assert not (tmp_path / "made.txt").exists()
    small("--until", "train")
    assert (tmp_path / "made.txt").exists()


def test_only_that_module_uses_what_is_not_documented():
    files = [ROOT / "Snakefile", ROOT / "workflow/Snakefile", *(ROOT / "workflow").rglob("*.smk")]
    used = {
        f"{path.name}: workflow.{name}"
        for path in files
        for name in re.findall(r"\bworkflow\.([a-z_]+)\b", path.read_text())
        if name not in DOCUMENTED | {"rst"}
    }
    assert not used
    assert not [path.name for path in files if "sys.argv" in path.read_text()]
