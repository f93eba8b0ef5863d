"""The method is importable from where the documentation says, and loads torch alone."""

from __future__ import annotations

import subprocess
import sys

import tgdpet
from tgdpet import networks, tgd

METHOD = ("TGD", "score_kernels", "select")
NOT_NEEDED = ("numba", "pandas", "matplotlib", "snakemake")


def printed(root, code: str) -> list[str]:
    """The words that a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}"],
        capture_output=True,
        text=True,
        cwd=root / "scripts",
        check=True,
    )
    return done.stdout.split()


def loaded(root, statement: str) -> list[str]:
    """Those of torch and the packages that are not needed which the statement loads."""
    names = ("torch", *NOT_NEEDED)
    return printed(root, f"{statement}; print(*[m for m in {names} if m in sys.modules])")


def test_public_names_stand_at_the_top():
    assert [getattr(tgdpet, name) for name in METHOD] == [getattr(tgd, name) for name in METHOD]
    assert set(METHOD) <= set(tgd.__all__)
    assert all(hasattr(tgd, name) for name in tgd.__all__)
    assert issubclass(tgd.TraceError, ValueError)
    assert networks.DnCNN.__module__ == "tgdpet.networks.dncnn"


def test_the_method_loads_torch_and_no_more(root):
    assert loaded(root, "import tgdpet.tgd") == ["torch"]


def test_the_method_imports_nothing_else_of_the_package(root):
    code = "import tgdpet.tgd; print(*[m for m in sys.modules if m.startswith('tgdpet.')])"
    assert {name.split(".")[1] for name in printed(root, code)} == {"tgd"}


def test_the_package_by_itself_loads_no_torch(root):
    assert loaded(root, "import tgdpet, tgdpet.networks") == []


def test_networks_load_no_tables_and_no_figures(root):
    folder = root / "scripts/tgdpet/networks"
    modules = [f"tgdpet.networks.{path.stem}" for path in sorted(folder.glob("[a-z]*.py"))]
    assert len(modules) >= 8
    assert loaded(root, f"import {', '.join(modules)}") == ["torch"]
