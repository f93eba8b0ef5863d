# A study: the whole workflow once for each of `seeds`, each in a folder of its own.
import copy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from tgdpet import checks
from tgdpet.figures import SHOWN, TABLES, TOGETHER, numbered

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


# Used with --sdm apptainer only, as in the workflow itself.
container: "envs/tgdpet.sif"


report: "report/workflow.rst"


resource_scopes:
    gpu="local",


RUNS = [of_seed(s) for s in SEEDS]
SWEEP = bool((config.get("sweep") or {}).get("phi"))  # checked by the seeds' own runs
DRAWN = [f for f in TOGETHER if f != "phi" or SWEEP]
TOGETHER_FILES = expand(
    f"{ROOT_RESULTS}/figures/{{figure}}.{{kind}}",
    figure=DRAWN,
    kind=["png", "pdf", "csv"],
)


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


include: "rules/together.smk"


if SWEEP:

    include: "rules/together_sweep.smk"
