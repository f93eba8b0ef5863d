"""The library and `tgdpet denoise` run with what `pip install tgdpet` brings and nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata

import numpy as np
import pytest

from halves_of_a_study import write_halves
from tgdpet.io import nifti

DEPENDENCIES = ("nibabel", "numpy", "safetensors", "torch", "tqdm", "xxhash")
EXTRA_ADAPT = ("jinja2", "pandas", "psutil")

# Run before the code: whatever is blocked cannot be found, as if it were not installed.
BLOCK = """
import runpy, sys

class Without:
    blocked = set({blocked!r})

    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.blocked:
            return None
        return self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""


def normal(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def with_dependencies(names: tuple[str, ...]) -> set[str]:
    """Distributions and all that they need, extras left out."""
    needed: set[str] = set()
    waiting = [normal(name) for name in names]

    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # for another system or version of Python

        needed.add(name)
        for requirement in requirements:
            if "extra ==" not in requirement:
                waiting.append(normal(re.split(r"[\s\[<>=!~;(]", requirement)[0]))

    return needed


def not_brought_by(names: tuple[str, ...]) -> list[str]:
    """The modules of every distribution that these do not bring."""
    allowed = with_dependencies(names)
    return sorted(
        module
        for module, owners in metadata.packages_distributions().items()
        if module != "tgdpet" and not allowed & {normal(owner) for owner in owners}
    )


@pytest.fixture(scope="module")
def blocked() -> list[str]:
    """The modules of every distribution that the five do not bring."""
    return not_brought_by(DEPENDENCIES)


@pytest.fixture
def run(root, tmp_path, blocked):
    """Run code in an interpreter that finds none of the blocked modules; what it prints."""

    def call(code: str, blocked: list[str] = blocked) -> str:
        done = subprocess.run(
            [sys.executable, "-c", BLOCK.format(blocked=blocked) + code],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(root / "scripts"), "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


def test_what_is_blocked_is_what_the_pipeline_adds(blocked):
    assert {"numba", "pandas", "matplotlib", "scipy", "yaml", "psutil", "pytest"} <= set(blocked)
    assert not set(DEPENDENCIES) & set(blocked)


def test_the_six_are_the_dependencies(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    names = [re.split(r"[\s\[<>=!~;]", line)[0] for line in project["dependencies"]]
    assert tuple(sorted(names)) == DEPENDENCIES


def test_the_command_denoises_with_six_packages(root, run, tmp_path):
    model = root / "tests/data/network-0.1.safetensors"
    noisy = np.random.default_rng(0).gamma(2, 2000, (9, 8, 3)).astype(np.float32)
    nifti.write_image(tmp_path / "in.nii.gz", noisy, np.eye(4), {})

    words = ["denoise", "--model", str(model), "in.nii.gz", "out.nii.gz"]
    out = run(f"sys.argv[1:] = {words!r}; runpy.run_module('tgdpet', run_name='__main__')")

    assert out.startswith("out.nii.gz: 9 x 8 x 3 voxels in Bq/mL, by old-net")
    denoised = nifti.read_image(tmp_path / "out.nii.gz")
    assert denoised.data.shape == noisy.shape
    assert denoised.sidecar["Network"] == "old-net"


def test_the_method_runs_with_six_packages(run):
    code = """
import torch
from tgdpet import TGD, score_kernels, select
from tgdpet.networks import DnCNN

model = DnCNN(0.0625, torch.Generator().manual_seed(0))
example = torch.rand(1, 3, 8, 8)
with TGD(model, select(score_kernels(model, example), fraction=0.3)) as tgd:
    optimizer = torch.optim.Adam(tgd.parameters(), lr=1e-3)
    model(example).mean().backward()
    tgd.step(optimizer)
print(tgd.unchanged())
"""
    assert run(code).split() == ["True"]


def test_the_extra_adapt_is_what_adapting_needs(root, run, tmp_path):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]["adapt"]
    assert tuple(sorted(re.split(r"[><=]", line)[0] for line in extra)) == EXTRA_ADAPT

    write_halves(tmp_path)
    model = root / "tests/data/network-0.1.safetensors"
    words = ["adapt", "--model", str(model), "--halves", "half1.nii.gz", "half2.nii.gz"]
    words += ["--fraction", "0.3", "--epochs", "1", "--patch", "8", "--out", "out.nii.gz"]
    code = f"sys.argv[1:] = {words!r}; runpy.run_module('tgdpet', run_name='__main__')"
    out = run(code, not_brought_by((*DEPENDENCIES, *EXTRA_ADAPT)))

    assert "out.html: before and after" in out
    assert (tmp_path / "out.html").exists()


def test_a_blocked_package_cannot_be_imported(run):
    code = """
try:
    import pandas
except ModuleNotFoundError as error:
    print(error)
"""
    assert run(code) == "No module named 'pandas'\n"
