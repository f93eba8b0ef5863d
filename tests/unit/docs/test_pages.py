"""README.md stays one page, links lead somewhere, and each thing is said in one place."""

from __future__ import annotations

import posixpath
import re

import pytest
import yaml

import markdown_pages
from markdown_pages import PAGES

TERMS = ("v1", "v2", "FT-net", "TGD-net", "TGD-N2N", "TGD2-N2N", "KSE", "phi", "realisation",
         "study")  # fmt: skip
TEXT = (".py", ".yaml", ".smk", ".rst", ".md", ".tsv")
# Words of this project's own that the field has others for.
COINED = ("found again", "grain", "neediest", "way of the data", "regularised to ")


def test_the_readme_is_one_page():
    lines = markdown_pages.read("README.md").splitlines()
    long = [
        line
        for line in lines
        if len(line) > 120 and not line.startswith("|") and not re.search(r"\]\([^)]+\)", line)
    ]

    assert len(lines) <= 130
    assert not long


def test_the_readme_explains_its_terms():
    (glossary,) = re.findall(
        r"^## Glossary\n(.*?)^## ", markdown_pages.read("README.md"), re.M | re.S
    )
    explained = re.findall(r"^\| ([^|]+) \|", glossary, re.M)
    terms = {term for cell in explained for term in cell.split(", ")}

    assert terms >= set(TERMS)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page, root):
    for target in markdown_pages.links(page):
        path, _, anchor = target.partition("#")
        file = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page

        assert (root / file).exists(), f"{page}: {target}: no such file"
        if anchor:
            # The configuration's keys, say, get their headings when the site is built.
            assert anchor in markdown_pages.anchors(file), f"{page}: {target}: no such heading"


def test_code_and_settings_point_to_pages_that_exist(root):
    folders = ("benchmarks", "config", "envs", "examples", "profiles", "scripts", "workflow")
    files = [path for name in folders for path in (root / name).rglob("*.*") if path.is_file()]
    texts = [path.read_text(encoding="utf-8") for path in files if path.suffix in TEXT]
    named = {page for text in texts for page in re.findall(r"\bdocs/[\w/-]+\.md\b", text)}

    assert named
    assert not [page for page in named if not (root / page).is_file()]


def test_every_page_is_in_the_navigation(root):
    text = (root / "mkdocs.yml").read_text()
    shown = set(re.findall(r"[\w/-]+\.md", text))
    written = {str(path.relative_to(root / "docs")) for path in (root / "docs").rglob("*.md")}

    assert written <= shown


def test_the_site_asks_no_other_server(root):
    config = yaml.safe_load((root / "mkdocs.yml").read_text())

    assert config["theme"]["font"] is False
    assert "extra_javascript" not in config
    assert not any("://" in script for script in config["extra"]["polyfills"])


@pytest.mark.parametrize("page", [p for p in PAGES if p.startswith("docs/") or p == "README.md"])
def test_words_are_the_fields(page):
    text = markdown_pages.read(page).lower()
    assert not [word for word in COINED if word in text]


def test_ci_runs_what_ci_run_runs(root):
    workflow = yaml.safe_load((root / ".github/workflows/ci.yml").read_text())
    steps = workflow["jobs"]["ci"]["steps"]

    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]


def test_issue_forms_are_complete(root):
    for path in (root / ".github/ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text())
        if path.name == "config.yml":
            continue

        assert {"name", "description", "body"} <= set(form)
        assert all("label" in part["attributes"] for part in form["body"])
