"""The API page: its signatures are the code's, its examples run, and what the design promises is on
it.
"""

from __future__ import annotations

import importlib
import inspect
import re

import pytest

PROMISED = ("kse.score", "tgd.score_kernels", "tgd.select", "tgd.TGD", "dncnn.DnCNN", "train.fit")


@pytest.fixture
def page(root) -> str:
    return (root / "docs/api.md").read_text()


def headings(page: str) -> list[tuple[str, str]]:
    """(dotted name, arguments) of every documented name."""
    return re.findall(r"^### `(tgdpet\.[\w.]+)\((.*)\)`$", page, re.M)


def resolved(name: str):
    package, module, *rest = name.split(".")
    value = importlib.import_module(f"{package}.{module}")
    for part in rest:
        value = getattr(value, part)
    return value


def test_signatures_are_those_of_the_code(page):
    found = headings(page)
    assert len(found) == page.count("\n### ")
    for name, arguments in found:
        signature = inspect.signature(resolved(name))
        plain = [
            p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()
        ]
        assert f"({arguments})" == str(inspect.Signature(plain)), name


def test_promised_names_are_on_it(page):
    assert {f"tgdpet.{n}" for n in PROMISED} <= {name for name, _ in headings(page)}


def test_its_examples_run(page):
    space: dict[str, object] = {}
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    assert len(blocks) >= 8
    for block in blocks:
        exec(compile(block, "docs/api.md", "exec"), space)


@pytest.mark.parametrize("name", ["score_kernels", "score_components", "TGD", "select"])
def test_public_functions_say_what_they_raise(name):
    assert "Raises" in (resolved(f"tgdpet.tgd.{name}").__doc__ or "")
