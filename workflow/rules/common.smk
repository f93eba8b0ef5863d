# Names and paths that the rules share. Nothing here reads results.
import dataclasses
import os
import re
import shutil
from pathlib import Path

from tgdpet.cli import arguments, study_options
from tgdpet.config import chains, checks, roles, sections, studies, sweep
from tgdpet.config.layers import settle
from tgdpet.config.loading import load_config
from tgdpet.config.paths import RunFiles
from tgdpet.evaluation import inputs as evaluated
from tgdpet.figures import absent
from tgdpet.figures import inputs as shown
from tgdpet.io.nifti import sidecar_path
from tgdpet.listmode.events import EVENT
from tgdpet.workflow import job_sizes, rates, snakemake_internals

ONLY_FIGURES = snakemake_internals.only_figures()
SOURCE = snakemake_internals.config_files(workflow)
try:
    snakemake_internals.read_config_words(workflow)
except ValueError as error:
    raise WorkflowError(str(error)) from None
if "networks" not in config:
    raise WorkflowError(
        f"{SOURCE}: no networks: the workflow's configuration is missing; expected config/config.yaml in {Path.cwd()},"
        " or a module's `config:` that holds it"
    )
try:
    settle(config, snakemake_internals.config_layers(workflow))
    CONFIG = load_config(config, SOURCE)
    CONFIG = dataclasses.replace(CONFIG, studies=here_or_shipped(CONFIG.studies))
    STUDIES = studies.read_studies(CONFIG.studies)
    studies.check_studies(CONFIG, STUDIES, files=not ONLY_FIGURES)
except ValueError as error:
    raise WorkflowError(str(error)) from None

FILES = RunFiles(Path(CONFIG.results), CONFIG, STUDIES)
R = str(FILES.root)
RUNS = [R]
NETWORKS = sweep.entries(CONFIG)
SWEEP = sweep.networks(CONFIG)  # phi -> network; empty without a sweep
WHOLE = FILES.scan
STUDY = {s.study: s for s in STUDIES}
ROLE_STUDIES = {}
for s in STUDIES:
    ROLE_STUDIES.setdefault(s.role, []).append(s.study)
TESTS = FILES.studies_of(*roles.TESTS)
ONLINE = FILES.online_studies()
# Networks that are measured and shown; those of the sweep alone are not.
POPULATION = [n for n, e in CONFIG.networks.items() if e.data != "n2n"]
N2N = [n for n, e in CONFIG.networks.items() if e.data == "n2n"]


wildcard_constraints:
    study="|".join(STUDY),
    protocol="v1|v2",
    network="|".join(map(re.escape, NETWORKS)) or "none",
    sample=r"\d+(\.\d+)?s|half[12]|real\d+",


def names(words):
    """A wildcard constraint that allows these words only."""
    return "|".join(map(re.escape, words)) or "none"
