# A study: the whole workflow once for each of `seeds`, each in a folder of its own.
import copy
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from tgdpet.config import checks, studies
from tgdpet.config.loading import load_config
from tgdpet.figures import TOGETHER

SOURCE = " + ".join(str(f) for f in workflow.configfiles)
try:
    SEEDS = checks.check_seeds(config["seeds"], SOURCE)
except ValueError as error:
    raise WorkflowError(str(error)) from None
ROOT_RESULTS = config["results"]


def of_seed(seed):
    """The results folder of one seed."""
    return f"{ROOT_RESULTS}/seed-{seed}"


def config_of(seed):
    """The configuration of the run of one seed."""
    shared = {k: copy.deepcopy(v) for k, v in config.items() if k != "seeds"}
    return {**shared, "seed": seed, "results": of_seed(seed)}


RUNS = [of_seed(s) for s in SEEDS]


def of_every_seed(settings):
    """What a profile says of rules by name, with the names that the rules of each seed have here."""
    own = {k: v for k, v in settings.items() if re.match(r"seed\d", k) is None}
    return {**settings, **{f"seed{s}{k}": v for s in SEEDS for k, v in own.items()}}


# Before any rule is made: Snakemake looks each one up by its whole name.
for _what in ("overwrite_resources", "overwrite_threads"):
    _settings = of_every_seed(getattr(workflow.resource_settings, _what))
    setattr(workflow.resource_settings, _what, _settings)


for seed in SEEDS:

    module:
        name: f"seed{seed}"
        snakefile:
            "Snakefile"
        config:
            config_of(seed)


for seed in SEEDS:
    _name = f"seed{seed}"

    use rule * from _name as _name*


def group_of(name):
    """The group that a profile gives a seed's rule, which is known only after parsing."""
    own = re.sub(r"^seed\d+", "", name)
    return lambda wildcards: workflow.group_settings.overwrite_groups.get(own)


for _rule in workflow.rules:
    _rule.group = group_of(_rule.name)


# Used with --sdm apptainer only, as in the workflow itself.
container: "envs/tgdpet.sif"


report: "report/workflow.rst"


resource_scopes:
    gpu="local",


SWEEP = bool((config.get("sweep") or {}).get("phi"))  # checked by the seeds' own runs
DRAWN = [f for f in TOGETHER if f != "phi" or SWEEP]
TOGETHER_FILES = expand(
    f"{ROOT_RESULTS}/figures/{{figure}}.{{kind}}",
    figure=DRAWN,
    kind=["png", "pdf", "csv"],
)


# What `rules/folder.smk` makes the bill of.
CONFIG = load_config(config_of(SEEDS[0]), SOURCE)
STUDIES = studies.read_studies(CONFIG.studies)


rule study:
    default_target: True
    input:
        TOGETHER_FILES,
        f"{ROOT_RESULTS}/report.html",
    localrule: True


rule figures:
    input:
        TOGETHER_FILES,
        f"{ROOT_RESULTS}/report.html",
    localrule: True


include: "rules/captions.smk"
include: "rules/together.smk"


if SWEEP:

    include: "rules/together_sweep.smk"
