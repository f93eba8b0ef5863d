# Where the workflow's own files are, whichever folder it runs in: the checkout, another one (--directory), or as a module.
import os
import runpy
import sys
from pathlib import Path

# Read as a source file of the workflow's, as a deployed workflow has no other folder yet.
_INTERNALS = "../../scripts/tgdpet/workflow/snakemake_internals.py"
ROOT = runpy.run_path(workflow.source_path(_INTERNALS))["checkout"](workflow)
sys.path.insert(0, str(ROOT / "scripts"))

# The rules call plain `python`: the one that runs Snakemake, activated or not.
_PATH = os.environ.get("PATH", "").split(os.pathsep)
if _PATH[0] != str(Path(sys.executable).parent):
    os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), *_PATH]))


def source(path):
    """A file of the workflow's own, as a rule names it."""
    return path if ROOT.samefile(Path.cwd()) else str(ROOT / path)


def here_or_shipped(path):
    """This file in the working folder; the one that comes with the workflow where there is none."""
    shipped = ROOT / path
    return str(shipped) if shipped.exists() and not Path(path).exists() else path


DEFAULTS = here_or_shipped("config/config.yaml")
