"""All that the workflow takes from Snakemake's inside, where no documented way leads there.

Written for Snakemake 9.27. tests/workflow/test_snakemake_internals.py fails, naming the attribute,
where another version has it no more. Nothing in here imports Snakemake.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

VERSION = "9.27"
STAGES = ("reconstruct", "denoise", "dataset", "import")  # of several rules each, by role

Workflow = Any  # snakemake.workflow.Workflow


def checkout(workflow: Workflow) -> Path:
    """The folder that the workflow's files lie in, called from a file two folders below it.

    A workflow that is used from GitHub or GitLab (`module`, snakedeploy) has its files in
    Snakemake's clone only; they are unpacked beside it once for each commit.
    """
    rules = workflow.current_basedir
    if rules.is_local:
        return Path(rules).parent.parent

    rules.fetch_if_required()
    repository = rules.hosted_repo
    commit = repository.repo.commit(rules.ref).hexsha
    folder = Path(f"{repository.repo_clone}-{commit[:12]}")
    if not folder.exists():
        _unpack(repository.repo_clone, commit, folder)

    return folder


def _unpack(clone: Path, commit: str, folder: Path) -> None:
    """The files of a commit in a new folder, whole or not at all."""
    words = ["git", "--git-dir", str(clone), "archive", commit]
    packed = subprocess.run(words, check=True, capture_output=True).stdout

    temporary = tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent)
    subprocess.run(["tar", "-x", "-C", temporary], input=packed, check=True)
    try:
        os.rename(temporary, folder)
    except OSError:  # another process was first
        if not folder.exists():
            raise


def read_config_words(workflow: Workflow) -> None:
    """Read what stands inside `--config networks='{TGD-net: {phi: 0.4}}'` as YAML.

    Snakemake hands over all values in there as texts. ConfigError where one is a number that YAML
    reads as another one.
    """
    given = workflow.config_settings.config or {}
    _check_numbers(given)

    for key, words in given.items():
        if isinstance(words, (Mapping, list)) and key in workflow.config:
            workflow.config[key] = _typed(workflow.config[key], words)


def config_layers(workflow: Workflow) -> list[Mapping[str, Any]]:
    """What the configuration's files say, checked, and then `--config`, each over the last."""
    from ..config.layers import read_layers

    given = workflow.config_settings.config or {}
    words = {key: _typed(value, value) for key, value in given.items()}
    return [*read_layers(config_paths(workflow)), words]


def _check_numbers(given: Mapping[str, Any]) -> None:
    """Refuse what `--config seed=2_1` says of a number: Snakemake makes 21 of it."""
    from ..config.yaml_files import parse_yaml

    for word in sys.argv[1:]:
        key, _, value = word.removeprefix("--config=").partition("=")
        if isinstance(given.get(key), (int, float)):
            parse_yaml(value, f"--config {key}")


def _typed(value: Any, words: Any) -> Any:
    """A value of the configuration in which texts of the command line are read as YAML."""
    from ..config.yaml_files import parse_yaml  # here: the Snakefile runs this file by itself, too

    if isinstance(words, Mapping) and isinstance(value, Mapping):
        return {k: _typed(v, words[k]) if k in words else v for k, v in value.items()}

    if isinstance(words, list) and isinstance(value, list) and len(words) == len(value):
        return [_typed(v, word) for v, word in zip(value, words, strict=True)]

    if not isinstance(value, str) or value != words:
        return value

    read = parse_yaml(value, "--config")
    return value if isinstance(read, (Mapping, list)) else read


def widen_rule_names(workflow: Workflow) -> None:
    """Let `--until reconstruct` (--omit-from, --forcerun) mean all rules of that stage.

    Several rules make the images of one stage, one for each role: reconstruct_lesion, ...; in a
    study of several seeds each with its seed in front. Snakemake takes up these options after the
    Snakefile was read, so that they are changed where its caller keeps them.
    """
    settings = _settings_of_caller()
    if settings is None:
        return

    rules = [rule.name for rule in workflow.rules]
    for name in ("until", "omit_from", "forcerun"):
        # what was asked is kept, as every module of a study comes along here
        asked = vars(settings).setdefault(f"{name}_asked", getattr(settings, name))
        wider = {rule for word in asked for rule in rules_of(word, rules)}
        setattr(settings, name, wider)


def rules_of(word: str, rules: Sequence[str]) -> list[str]:
    """The rules that a word of the command line means: of that name, of a stage, of every seed; the
    word itself where there are none, as it may be a file.
    """
    of_stage = re.fullmatch(rf"(\w*?)({'|'.join(STAGES)})", word)
    if of_stage is None:
        pattern = rf"(seed\d+)?{re.escape(word)}"
    else:
        prefix, stage = of_stage.groups()
        pattern = rf"{prefix}(seed\d+)?{stage}(_\w+)?"

    return [rule for rule in rules if re.fullmatch(pattern, rule)] or [word]


def _settings_of_caller() -> Any:
    """Snakemake's DAGSettings, which the function that has this Snakefile read holds; None where it
    does not.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        settings = getattr(frame.f_locals.get("self"), "dag_settings", None)
        if type(settings).__name__ == "DAGSettings":
            return settings
        frame = frame.f_back

    return None


def only_figures() -> bool:
    """Whether `snakemake figures` was called: its rules are then the only ones, so that nothing can
    be trained anew. Snakemake itself takes up its targets after the Snakefile was read.
    """
    return "figures" in sys.argv[1:]


def config_paths(workflow: Workflow) -> list[str]:
    """The configuration files, each laid over those before it."""
    given = [str(file) for file in workflow.config_settings.configfiles]
    own = [str(file) for file in workflow.configfiles if str(file) not in given]

    # the workflow's own is named by each of its Snakefiles
    return list(dict.fromkeys([*own, *given]))


def config_files(workflow: Workflow) -> str:
    """The names of the configuration files, for messages."""
    return " + ".join(config_paths(workflow)) or "configuration"


def cores(workflow: Workflow) -> int | None:
    """The cores that jobs may take in all; None where a cluster gives them."""
    given = workflow.resource_settings.cores
    return given if isinstance(given, int) and given < sys.maxsize else None


def set_default_target(workflow: Workflow, rule: str) -> None:
    """What a bare `snakemake` makes; `default_target:` of a rule in an included file is lost with
    the end of the include. As a module it leaves alone what the workflow around it makes.
    """
    is_module = len(workflow.modifier_stack) > 1
    if not is_module or workflow.default_target is None:
        workflow.default_target = workflow.modifier.modify_rulename(rule)


def is_main_process(workflow: Workflow) -> bool:
    """Whether this is the Snakemake that was called, and not one that runs a job for it."""
    return bool(workflow.is_main_process)


def ask_only_when_a_job_ends(workflow: Workflow) -> None:
    """Take away the limit of 100 job starts a second, unless the user has set another one.

    To keep its limit, Snakemake asks anew what to start a second after each time it asked, for
    good, and each finished job adds one such round: after 100 jobs they take a third of a core from
    the jobs. `--max-jobs-per-timespan` cannot switch it off, and a longer timespan keeps Snakemake
    from ending, as it waits for the last round.
    """
    limit = workflow.scheduling_settings.max_jobs_per_timespan
    if limit and (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None


def gpus_of_profile(workflow: Workflow, rule: str) -> tuple[Any, Any]:
    """GPUs that a profile asks for by `set-resources` for a rule (None: it does not), and those
    that its `resources` allow a job.
    """
    settings = workflow.resource_settings
    asked = settings.overwrite_resources.get(rule, {}).get("gpu")
    asked = getattr(asked, "raw", asked)

    allowed = dict(settings.resources).get("gpu", asked)
    return asked, getattr(allowed, "value", allowed)


def set_resources_for_seeds(workflow: Workflow, seeds: Sequence[int]) -> None:
    """Let what a profile says of resources and threads by a rule's name hold for the rules of every
    seed, which have other names in a study.

    To be called before any rule is made, as Snakemake looks up each one by its whole name then.
    """
    for name in ("overwrite_resources", "overwrite_threads"):
        settings = of_every_seed(getattr(workflow.resource_settings, name), seeds)
        setattr(workflow.resource_settings, name, settings)


def of_every_seed(settings: Mapping[str, Any], seeds: Sequence[int]) -> dict[str, Any]:
    """Settings by rule, and those of `train` for the rules `seed1train`, ... of all seeds."""
    every = dict(settings)

    for rule, value in settings.items():
        if re.match(r"seed\d", rule):
            continue
        for seed in seeds:
            every[f"seed{seed}{rule}"] = value

    return every


def set_groups_for_seeds(workflow: Workflow) -> None:
    """Let the groups that a profile gives rules by name hold for the rules of every seed. To be
    called after the rules were made; the profile's groups are known later.
    """
    for rule in workflow.rules:
        rule.group = _group_of(workflow, re.sub(r"^seed\d+", "", rule.name))


def _group_of(workflow: Workflow, rule: str) -> Callable[[Any], Any]:
    return lambda wildcards: workflow.group_settings.overwrite_groups.get(rule)
