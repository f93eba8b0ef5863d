# A study: the whole workflow once for each of `seeds`, each in a folder of its own.
import copy
from pathlib import Path

from tgdpet.config import checks, studies
from tgdpet.config.layers import settle
from tgdpet.config.loading import load_config
from tgdpet.config.paths import RunFiles
from tgdpet.evaluation import inputs as evaluated
from tgdpet.figures import TOGETHER
from tgdpet.figures import inputs as shown
from tgdpet.workflow import snakemake_internals

ONLY_FIGURES = snakemake_internals.only_figures()
SOURCE = snakemake_internals.config_files(workflow)
try:
    snakemake_internals.read_config_words(workflow)
    settle(config, snakemake_internals.config_layers(workflow))
    SEEDS = checks.check_seeds(config["seeds"], SOURCE)
except ValueError as error:
    raise WorkflowError(str(error)) from None
ROOT_RESULTS = str(Path(config["results"]))


def of_seed(seed):
    """The results folder of one seed."""
    return f"{ROOT_RESULTS}/seed-{seed}"


def config_of(seed):
    """The configuration of the run of one seed."""
    shared = {k: copy.deepcopy(v) for k, v in config.items() if k != "seeds"}
    return {**shared, "seed": seed, "results": of_seed(seed)}


RUNS = [of_seed(s) for s in SEEDS]


snakemake_internals.set_resources_for_seeds(workflow, SEEDS)


# How many seeds there are is known from the configuration only, and a module is one use of the workflow: hence a loop.
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


snakemake_internals.set_groups_for_seeds(workflow)


# Used with --sdm apptainer only, as in the workflow itself.
container: source("envs/tgdpet.sif")


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
STUDIES = studies.read_studies(here_or_shipped(CONFIG.studies))
ROOT_FILES = RunFiles(Path(ROOT_RESULTS), CONFIG, STUDIES)
SEED_FILES = [
    RunFiles(Path(of_seed(seed)), load_config(config_of(seed), SOURCE), STUDIES)
    for seed in SEEDS
]


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


snakemake_internals.widen_rule_names(workflow)
