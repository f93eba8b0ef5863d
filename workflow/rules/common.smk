# Names and paths that the rules share. Nothing here reads results.
import dataclasses
import os
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(workflow.current_basedir).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from tgdpet.cli import arguments
from tgdpet.config import checks, roles, sections, studies, sweep
from tgdpet.config.loading import load_config
from tgdpet.config.paths import RunFiles, with_sidecars
from tgdpet.evaluation import inputs as evaluated
from tgdpet.figures import inputs as shown
from tgdpet.listmode.events import EVENT
from tgdpet.workflow import costs, rates, snakemake_internals

ONLY_FIGURES = snakemake_internals.only_figures()
SOURCE = snakemake_internals.config_files(workflow)
try:
    CONFIG = load_config(config, SOURCE)
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
ONLINE = FILES.studies_of(*roles.ONLINE)
# Networks that are measured and shown; those of the sweep alone are not.
POPULATION = [n for n, e in CONFIG.networks.items() if e.data != "n2n"]
N2N = [n for n, e in CONFIG.networks.items() if e.data == "n2n"]


wildcard_constraints:
    study="|".join(STUDY),
    protocol="v1|v2",
    network="|".join(map(re.escape, NETWORKS)) or "none",
    sample=r"\d+(\.\d+)?s|half[12]|real\d+",


def recon(study, protocol, sample):
    """Path of a reconstructed image."""
    return str(FILES.image_path(study, protocol, sample))


def denoised(network, study, protocol, sample):
    """Path of a denoised image."""
    return str(FILES.image_path(study, protocol, sample, network))


def sidecars(images):
    """Paths of the sidecars that are read and written with images."""
    return [str(path) for path in with_sidecars(map(Path, images))[1::2]]


def inputs_of(study):
    """(protocol, sample) of each noisy image of a test study, which networks denoise."""
    role = STUDY[study].role
    protocols = roles.protocols(role, CONFIG)
    return [(p, sample) for p in protocols for sample in FILES.noisy_names(role)]


def networks_of(study):
    """Networks that denoise this study."""
    return POPULATION + (N2N if study in ONLINE else [])


def model(network, study=None):
    """Path of a network's weights."""
    online = NETWORKS[network].data == "n2n"
    return str(FILES.weights_path(network, study if online else ""))


def scanner_tables(wildcards):
    """What beside scanner.json describes the scanner of a study that was imported."""
    simulated = FILES.is_simulated(wildcards.study)
    return [] if simulated else [f"{R}/listmode/{{study}}/detectors.npz"]


def names(words):
    """A wildcard constraint that allows these words only."""
    return "|".join(map(re.escape, words)) or "none"
