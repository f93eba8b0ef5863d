"""What the documentation builds from the code is complete, and says what the code says."""

from __future__ import annotations

import importlib
import re

import pytest

import markdown_pages
import shell_commands
from tgdpet.config import sections

CONFIGURATION = "docs/reference/configuration.md"
PROMISED = (
    "tgdpet.tgd.kse.score",
    "tgdpet.tgd.score_kernels",
    "tgdpet.tgd.select",
    "tgdpet.tgd.TGD",
    "tgdpet.networks.DnCNN",
    "tgdpet.training.fit",
)


@pytest.fixture(scope="module")
def hooks():
    return shell_commands.hooks()


@pytest.fixture(scope="module")
def configuration(hooks) -> str:
    """The page as it is built."""
    return hooks.filled(markdown_pages.read(CONFIGURATION), "reference/configuration.md")


def keys(schema: dict, prefix: str = "") -> list[str]:
    """Every key of a JSON schema that holds a value, dotted; NAME where any name may stand."""
    found: list[str] = []

    for name, part in schema.get("properties", {}).items():
        inner = part.get("additionalProperties")
        if "properties" in part:
            found += keys(part, f"{prefix}{name}.")
        elif isinstance(inner, dict):
            found += keys(inner, f"{prefix}{name}.NAME.")
        else:
            found.append(prefix + name)

    return found


def test_the_configuration_page_names_every_key(configuration):
    wanted = keys(sections.schema())
    named = re.findall(r"`([\w.]+)`(?=<br>| \|)", configuration)

    assert len(wanted) > 60
    assert not set(wanted) - set(named)


def test_the_configuration_page_has_each_section_once(hooks):
    text = markdown_pages.read(CONFIGURATION)
    shown = ", ".join(re.findall(r"<!-- keys: (.+) -->", text)).split(", ")

    assert sorted(shown) == sorted(hooks.section_names())


def test_a_row_says_default_limits_and_meaning(configuration):
    help_text = sections.Network.__dataclass_fields__["width"].metadata["help"]

    assert f"| `network.width` | `0.25` | >&nbsp;0, ≤&nbsp;4 | {help_text} |" in configuration
    assert "| `auto`, `cpu`, `cuda` |" in configuration
    assert "| `networks.NAME.replay` | `0.0` | 0 to 1 |" in configuration


def test_no_row_is_split_by_what_it_says(configuration):
    for line in configuration.splitlines():
        if line.startswith("| `") and ".yaml`" not in line:
            assert len(re.findall(r"(?<!\\)\|", line)) == 5, line


def test_every_script_shows_its_options(hooks, root):
    shown = dict(hooks.script_parsers())
    scripts = {path.name for path in (root / "scripts").glob("[0-9]*.py")}

    assert scripts <= set(shown)
    assert "--width" in shown["05_train.py"].format_help()


def test_the_command_line_page_has_all_of_them(hooks):
    text = hooks.filled(markdown_pages.read("docs/reference/command-line.md"), "reference/x.md")

    for name in ("tgdpet", "tgdpet denoise", "tgdpet export", "05_train.py", "provenance.py"):
        assert f"### `{name}`" in text
    assert "usage: 05_train.py" in text and "usage: tgdpet denoise" in text


def test_every_make_target_is_listed(hooks, root):
    (phony,) = re.findall(r"^\.PHONY: (.+)$", (root / "Makefile").read_text(), re.M)
    listed = re.findall(r"^\| `make ([\w-]+)` \|", hooks.make_table(), re.M)

    assert sorted(listed) == sorted(set(phony.split()) - {"help"})


def test_the_library_page_has_the_promised_names(root):
    named = re.findall(r"^::: ([\w.]+)$", markdown_pages.read("docs/reference/api.md"), re.M)
    assert set(PROMISED) <= set(named)

    for name in named:
        module, _, rest = name.rpartition(".")
        assert getattr(importlib.import_module(module), rest).__doc__, name


@pytest.mark.parametrize("name", ["score_kernels", "score_components", "TGD", "select"])
def test_public_functions_say_what_they_raise(name):
    from tgdpet import tgd

    assert "Raises" in (getattr(tgd, name).__doc__ or "")


def test_sections_of_the_readme_are_taken_over(hooks):
    text = hooks.filled("<!-- readme: Glossary -->", "index.md")

    assert text.startswith("| term |") and "## " not in text
    with pytest.raises(ValueError, match="no section 'Words'"):
        hooks.filled("<!-- readme: Words -->", "index.md")


@pytest.mark.parametrize(
    ("written", "made"),
    [
        ("[a](docs/how-to/phi.md#x)", "[a](../how-to/phi.md#x)"),
        ("![a](docs/figure.png)", "![a](../figure.png)"),
        ("[how](CONTRIBUTING.md)", "[how](../contributing.md)"),
        ("[the licence](LICENSE)", "the licence (`LICENSE`)"),
        ("[LICENSE](LICENSE)", "`LICENSE`"),
        ("[a](https://example.org/b)", "[a](https://example.org/b)"),
    ],
)
def test_links_of_the_readme_fit_the_page_they_are_put_on(hooks, written, made):
    assert hooks.relink(written, "README.md", "explanation/method.md") == made


@pytest.mark.parametrize(
    ("html", "bad"),
    [
        ('<script src="https://cdn.example/x.js"></script>', True),
        ("<link rel=stylesheet href=//fonts.example/css>", True),
        ('<script src="assets/x.js"></script><a href="https://example.org">a</a>', False),
    ],
)
def test_a_page_that_asks_another_server_is_refused(hooks, tmp_path, html, bad):
    exceptions = pytest.importorskip("mkdocs.exceptions")
    (tmp_path / "index.html").write_text(html)

    if not bad:
        hooks.on_post_build({"site_dir": str(tmp_path)})
        return

    with pytest.raises(exceptions.PluginError, match="from elsewhere"):
        hooks.on_post_build({"site_dir": str(tmp_path)})


def test_a_table_is_the_benchmarks_own(hooks):
    page = hooks.filled(
        markdown_pages.read("docs/explanation/physics.md"), "explanation/physics.md"
    )
    csv = markdown_pages.read("docs/figures/quantification.csv").splitlines()

    assert "| " + " | ".join(csv[0].replace('"', "").split(",")[:3]) in page
    assert page.count("\n| bias of the background |") == 1
    assert page.count("\n| recovery of the 10 mm sphere |") == 1
