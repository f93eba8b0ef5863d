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
from tgdpet.io.nifti import image_name
from tgdpet.listmode.events import EVENT
from tgdpet.workflow import costs, rates

# Snakemake knows its targets only after parsing.
ONLY_FIGURES = "figures" in sys.argv[1:]
SOURCE = " + ".join(str(f) for f in workflow.configfiles) or "configuration"
try:
    CONFIG = load_config(config, SOURCE)
    STUDIES = studies.read_studies(CONFIG.studies)
    studies.check_studies(CONFIG, STUDIES, files=not ONLY_FIGURES)
except ValueError as error:
    raise WorkflowError(str(error)) from None

R = CONFIG.results
RUNS = [R]
NETWORKS = sweep.entries(CONFIG)
SWEEP = sweep.networks(CONFIG)  # phi -> network; empty without a sweep
WHOLE = roles.level_name(CONFIG.simulation.scan_s)
STUDY = {s.study: s for s in STUDIES}
ROLE_STUDIES = {}
for s in STUDIES:
    ROLE_STUDIES.setdefault(s.role, []).append(s.study)
TESTS = [s.study for s in STUDIES if s.role in roles.TESTS]
ONLINE = [s.study for s in studies.with_role(STUDIES, *roles.ONLINE)]
# Networks that are measured and shown; those of the sweep alone are not.
POPULATION = [n for n, e in CONFIG.networks.items() if e.data != "n2n"]
N2N = [n for n, e in CONFIG.networks.items() if e.data == "n2n"]
BASES = sorted(
    {e.base for e in NETWORKS.values() if e.method == "tgd"} | {CONFIG.score.network}
)


wildcard_constraints:
    study="|".join(STUDY),
    protocol="v1|v2",
    network="|".join(map(re.escape, NETWORKS)) or "none",
    sample=r"\d+(\.\d+)?s|half[12]|real\d+",


def samples_names(role):
    """Samples that a study of this role is split into."""
    return [
        s.name
        for s in roles.samples_of(role, CONFIG.sampling, CONFIG.simulation.scan_s)
    ]


def recon(study, protocol, sample):
    """Path of a reconstructed image."""
    return f"{R}/recon/sub-{study}/pet/{image_name(study, protocol, sample)}"


def recon_all(study, protocol):
    """Paths of all images of a study and protocol."""
    return [recon(study, protocol, s) for s in samples_names(STUDY[study].role)]


def noisy_names(role):
    """Samples of a test study that networks denoise."""
    return [s for s in samples_names(role) if roles.is_noisy_input(s, CONFIG.simulation.scan_s)]


def denoised(network, study, protocol, sample):
    """Path of a denoised image."""
    return (
        f"{R}/denoised/{network}/sub-{study}/pet/{image_name(study, protocol, sample)}"
    )


def networks_of(study):
    """Networks that denoise this study."""
    return POPULATION + (N2N if study in ONLINE else [])


def model(network, study=None):
    """Path of a network's weights."""
    entry = NETWORKS[network]
    if entry.weights is not None:
        return entry.weights
    folder = "models" if entry.method == "train" else "adapted"
    name = f"{network}/{study}" if entry.data == "n2n" else network
    return f"{R}/{folder}/{name}.safetensors"


def names(words):
    """A wildcard constraint that allows these words only."""
    return "|".join(map(re.escape, words)) or "none"
