"""Benchmarks and examples are run by hand: what they take from the library has to be there."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted([*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "examples").glob("*.py")])
ABSENT_HERE = ("cuda",)  # extras that not every machine has


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """Module and name of every `from tgdpet... import ...`, at any depth."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tgdpet":
            for alias in node.names:
                yield str(node.module), alias.name


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_what_a_script_imports_is_there(path: Path) -> None:
    for module, name in imported(path):
        if any(word in module for word in ABSENT_HERE):
            continue

        found = importlib.import_module(module)
        if not hasattr(found, name):
            importlib.import_module(f"{module}.{name}")  # a module, or an error that names it
