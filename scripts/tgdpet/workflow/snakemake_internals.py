"""All that the workflow takes from Snakemake's inside, where no documented way leads there.

Written for Snakemake 9.27. tests/workflow/test_snakemake_internals.py fails, naming the attribute,
where another version has it no more. Nothing in here imports Snakemake.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

VERSION = "9.27"

Workflow = Any  # snakemake.workflow.Workflow


def only_figures() -> bool:
    """Whether `snakemake figures` was called: its rules are then the only ones, so that nothing can
    be trained anew. Snakemake itself takes up its targets after the Snakefile was read.
    """
    return "figures" in sys.argv[1:]


def config_files(workflow: Workflow) -> str:
    """The names of the configuration files, for errors."""
    return " + ".join(str(file) for file in workflow.configfiles) or "configuration"


def set_default_target(workflow: Workflow, rule: str) -> None:
    """What a bare `snakemake` makes; `default_target:` of a rule in an included file is lost with
    the end of the include.
    """
    workflow.default_target = rule


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
