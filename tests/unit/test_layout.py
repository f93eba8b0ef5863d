"""The project's own shape: thin scripts, a library that stays light, rules that say what they
need.
"""

from __future__ import annotations

import ast
import importlib
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest

import tgdpet


def scripts(root):
    return sorted((root / "scripts").glob("[0-9]*.py"))


def rules(root):
    """(file name, rule name, body) of every rule."""
    for path in sorted((root / "workflow/rules").glob("*.smk")):
        for match in re.finditer(
            r"^\s*(?:rule|checkpoint) (\w+):\n((?:(?:[ \t]+.*)?\n)+)", path.read_text() + "\n", re.M
        ):
            yield path.name, match.group(1), match.group(2)


def test_scripts_are_thin(root):
    for path in scripts(root):
        lines = len(path.read_text().splitlines())
        assert lines <= 60, f"{path.name}: {lines} lines; logic belongs in scripts/tgdpet"


def code_lines(path):
    """Lines that are neither blank nor a comment."""
    lines = (line.strip() for line in path.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def test_modules_are_of_readable_size(root):
    for path in [*(root / "scripts/tgdpet").rglob("*.py"), *(root / "tests").rglob("*.py")]:
        assert len(code_lines(path)) <= 300, path


# From the ground up: a package imports from floors below its own only.
FLOORS = (
    ("constants",),
    ("io", "nuclides", "runtime", "tgd"),
    ("config", "dataset", "dicom"),
    ("scanner", "networks"),
    ("listmode", "training"),
    ("recon", "petsird", "evaluation"),
    ("simulation",),
    ("figures",),
    ("report", "workflow"),
    ("cli",),
)


def imported_packages(root, path):
    """Names of the packages of the library that a module of it imports."""
    module = path.relative_to(root / "scripts").with_suffix("").parts
    parent = module[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = parent[: len(parent) - node.level + 1] if node.level else ()
            name = (*base, *(node.module or "").split(".")) if node.module else base
            names = [(*name, alias.name) for alias in node.names] if len(name) == 1 else [name]
        elif isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        else:
            continue
        yield from (n[1] for n in names if n[0] == "tgdpet" and len(n) > 1)


def test_packages_import_from_lower_floors_only(root):
    library = root / "scripts/tgdpet"
    floor_of = {name: number for number, names in enumerate(FLOORS) for name in names}
    assert {p.name for p in library.iterdir() if p.is_dir()} - {"__pycache__"} <= set(floor_of)
    for path in library.rglob("*.py"):
        package = path.relative_to(library).parts[0].removesuffix(".py")
        if package in ("__init__", "__main__"):
            continue
        for other in set(imported_packages(root, path)) - {package, "__version__"}:
            assert floor_of[other] < floor_of[package], (
                f"{path.relative_to(root)} imports {other}, which lies on the same floor or above"
            )


def test_the_method_stands_alone(root):
    for path in (root / "scripts/tgdpet/tgd").rglob("*.py"):
        assert set(imported_packages(root, path)) <= {"tgd"}, path


def test_rule_files_are_short(root):
    for path in (root / "workflow/rules").glob("*.smk"):
        assert len(path.read_text().splitlines()) <= 100, path


def test_every_rule_declares_what_it_needs(root):
    for file, name, body in rules(root):
        if "shell:" not in body and "run:" not in body and "script:" not in body:
            continue  # a target rule
        sizes = (
            "mem_mb=",
            "runtime=",
            "disk_mb=",
        )  # by formula, but for rules that only put small tables together
        if not file.startswith("together"):
            sizes = ("mem_mb=mem(", "runtime=minutes(", "disk_mb=disk(")
        for word in ("log:", "benchmark:", "threads:", *sizes):
            assert word in body, f"{file}: rule {name} lacks {word}"


def test_trained_networks_have_a_card(root):
    files = [path.read_text() for path in (root / "workflow/rules").glob("*.smk")]
    outputs = [
        text
        for file in files
        for text in re.findall(r"^ +output:\n(.*?)^ +log:", file, re.M | re.S)
    ]
    networks = [text for text in outputs if ".safetensors" in text]
    assert len(networks) == 4  # training and adaptation, of a protocol or of a single study
    for text in networks:
        (stem,) = re.findall(r'model=f"(.*)\.safetensors"', text)
        assert f'card=f"{stem}.md"' in text


def test_nothing_is_unpickled(root):
    found = [
        f"{path.relative_to(root)}: {words}"
        for path in (root / "scripts").rglob("*.py")
        for words in re.findall(
            r"torch\.load\b|\b(?:import|from) (?:pickle|dill|joblib|shelve)\b"
            r"|allow_pickle ?= ?True|read_pickle",
            path.read_text(),
        )
    ]
    assert not found


def test_the_console_script_exists(root):
    module, name = tomllib.loads((root / "pyproject.toml").read_text())["project"]["scripts"][
        "tgdpet"
    ].split(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_the_extra_onnx_is_part_of_dev(root):
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert {r for r in extras["onnx"] if not r.startswith("torch")} <= set(extras["dev"])


def test_rules_name_scripts_that_exist(root):
    for path in (root / "workflow/rules").glob("*.smk"):
        for name in re.findall(r"scripts/(\w+\.py)", path.read_text()):
            assert (root / "scripts" / name).exists(), f"{path.name}: scripts/{name}"


@pytest.mark.parametrize(
    "module",
    [
        "config.loading",
        "config.studies",
        "workflow.costs",
        "config.sweep",
        "config.paths",
        "evaluation.inputs",
        "figures.inputs",
        "cli.arguments",
        "cli.command",
    ],
)
def test_what_the_snakefile_imports_is_light(root, module):
    heavy = ("torch", "numba", "matplotlib", "pandas")
    code = f"import sys, tgdpet.{module}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=root / "scripts",
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_versions_agree(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert project["version"] == tgdpet.__version__
    assert f"version: {tgdpet.__version__}" in (root / "CITATION.cff").read_text()
    assert f"## {tgdpet.__version__}" in (root / "CHANGELOG.md").read_text()


def test_constraints_pin_every_dependency(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(r for extra in project["optional-dependencies"].values() for r in extra),
    ]
    lines = (root / "envs/constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0] for line in lines if re.fullmatch(r"[a-z0-9-]+==[\w.]+", line)}
    assert all("==" in line or line.startswith("#") for line in lines)
    for requirement in wanted:
        name = re.split(r"[\[<>=!~ ]", requirement)[0].lower()
        assert name in pinned, f"envs/constraints.txt does not pin {name}"


def test_make_venv_installs_what_the_checks_need(root):
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    (installed,) = re.findall(r"^EXTRAS := (.*)$", (root / "Makefile").read_text(), re.M)
    assert {"workflow", "cluster", "dev", "docs"} == set(installed.split(",")) <= set(extras)


def test_smoke_and_paper_only_override_known_keys(raw_config):
    assert set(raw_config("paper")) == set(raw_config()) | {"resources"}


@pytest.mark.slow
def test_wheel_holds_only_the_library(root, tmp_path):
    tree = tmp_path / "tree"  # the build leaves files behind
    shutil.copytree(
        root / "scripts",
        tree / "scripts",
        ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"),
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, tree)
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(tmp_path)]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", str(tree), *options], check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {
        "tgdpet",
        f"tgdpet-{tgdpet.__version__}.dist-info",
    }
    # Modules, and what they read: networks, templates, the viewer.
    library = root / "scripts/tgdpet"
    patterns = ("*.py", "networks/shipped/*", "report/*.j2", "report/*.js", "report/niivue/*")
    files = {path for pattern in patterns for path in library.glob(pattern)}
    assert len(files) >= 15
    assert {f"tgdpet/{path.relative_to(library)}" for path in files} <= set(names)
    assert next(tmp_path.glob("*.whl")).stat().st_size < 5e6
