"""What the documentation builds from the code and the repository's own pages (a hook of MkDocs).

In a page, a comment of one line stands for what is put in its place:

    <!-- keys: train, adapt -->     a table of these sections' keys, from the dataclasses
    <!-- help: tgdpet -->           what `tgdpet --help` and its subcommands print
    <!-- help: scripts -->          the same of each numbered script
    <!-- help: make -->             a table of the Makefile's targets
    <!-- readme: Glossary -->       that section of README.md, without its heading
    <!-- table: figures/NAME.csv -->  a table of docs/figures, as a benchmark wrote it

Whole pages are made of the files in `REPOSITORY_PAGES`. Nothing generated is kept in git.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import os
import posixpath
import re
import runpy
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

REPOSITORY_PAGES = {
    "contributing.md": "CONTRIBUTING.md",
    "explanation/benchmarks.md": "benchmarks/RESULTS.md",
    "reference/changelog.md": "CHANGELOG.md",
}
MARKER = re.compile(r"^<!-- (keys|help|readme|table): (.+?) -->$", re.M)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
# What would be fetched from elsewhere when a page is opened.
FOREIGN = re.compile(
    r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^\s\"'>]+"
)
HELP_WIDTH = 88


# --- Called by MkDocs ---


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made of the repository's own files."""
    from mkdocs.structure.files import File

    for page, source in REPOSITORY_PAGES.items():
        text = relink((ROOT / source).read_text(encoding="utf-8"), source, page)
        if "/" not in page:  # a tab of its own, with nothing beside it to navigate to
            text = f"---\nhide: [navigation]\n---\n\n{text}"

        files.append(File.generated(config, page, content=text))

    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Put what they stand for in the place of the markers, and make links fit the site."""
    uri = page.file.src_uri
    return filled(relink(markdown, f"docs/{uri}", uri), uri)


def on_post_build(config: Any) -> None:
    """Refuse a site that would fetch anything from another server."""
    from mkdocs.exceptions import PluginError

    for path in sorted(Path(config["site_dir"]).rglob("*.html")):
        if found := FOREIGN.findall(path.read_text(encoding="utf-8")):
            raise PluginError(f"{path}: would be fetched from elsewhere: {found[0]}")


# --- Markers ---


def filled(markdown: str, page: str) -> str:
    """The page's text with every marker replaced."""
    makers = {"keys": _keys, "help": _help, "readme": _readme, "table": _table}
    return MARKER.sub(lambda match: makers[match[1]](match[2], page), markdown)


def _keys(names: str, page: str) -> str:
    return key_table(names.split(", "))


def _help(what: str, page: str) -> str:
    if what == "make":
        return make_table()

    parsers = {"tgdpet": command_parsers, "scripts": script_parsers}[what]()
    return "\n\n".join(_help_section(name, parser) for name, parser in parsers)


def _readme(heading: str, page: str) -> str:
    return relink(readme_section(heading), "README.md", page)


def _table(path: str, page: str) -> str:
    with open(ROOT / "docs" / path, encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)

    rule = ["---"] * len(header)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


# --- The configuration ---


def section_names() -> list[str]:
    """What `<!-- keys: ... -->` may name: the configuration's sections; `top` is its own keys."""
    from tgdpet.config.sections import Config

    hints = typing.get_type_hints(Config)
    names = (field.name for field in dataclasses.fields(Config))

    return ["top", *(name for name in names if _section(hints[name]))]


def key_table(sections: list[str]) -> str:
    """A table of the keys of one section, or of several that have the same keys."""
    rows = [list(section_rows(name)) for name in sections]
    lines = ["| key | default | allowed | meaning |", "|---|---|---|---|"]

    for same in zip(*rows, strict=True):
        keys = "<br>".join(f"`{key}`" for key, *_ in same)
        _, default, allowed, meaning = same[0]
        lines.append(f"| {keys} | {default} | {allowed} | {meaning} |")

    return "\n".join(lines)


def section_rows(section: str) -> Iterator[tuple[str, str, str, str]]:
    """Key, default, allowed values and meaning of each key of a section."""
    from tgdpet.config.sections import Config

    hints = typing.get_type_hints(Config)
    if section == "top":
        yield from _rows(Config, "")
        return

    named = typing.get_origin(hints[section]) is dict
    yield from _rows(_section(hints[section]), f"{section}.NAME." if named else f"{section}.")


def _rows(cls: Any, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    hints = typing.get_type_hints(cls)

    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        if _section(hint):
            continue

        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()

        meaning = field.metadata["help"].replace("|", "\\|")
        yield f"{prefix}{field.name}", _shown(default), _allowed(hint, field.metadata), meaning


def _section(hint: Any) -> Any:
    """The dataclass that a field holds, itself or by name; None where it holds a value."""
    if typing.get_origin(hint) is dict:
        hint = typing.get_args(hint)[1]
    return hint if dataclasses.is_dataclass(hint) else None


def _shown(default: Any) -> str:
    if default is None:
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _allowed(hint: Any, limits: Any) -> str:
    if hint is bool:
        return "`true`, `false`"
    if limits.get("choices"):
        return ", ".join(f"`{choice}`" for choice in limits["choices"])

    low, high, above = (limits.get(key) for key in ("low", "high", "above"))
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"

    signs = ((">", above), ("≥", low), ("≤", high))
    return ", ".join(f"{sign}&nbsp;{value:g}" for sign, value in signs if value is not None)


# --- The command line ---


class _Parsed(Exception):
    """Carries a script's parser out of its `main`."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def script_parser(path: Path) -> argparse.ArgumentParser:
    """The parser that a script makes, as it is when the script parses its command line."""

    def caught(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> Any:
        raise _Parsed(parser)

    # A parser takes the name of the running program.
    program = mock.patch.object(sys, "argv", [path.name])
    parsing = mock.patch("argparse.ArgumentParser.parse_args", caught)

    with program, parsing:
        main = runpy.run_path(str(path), run_name="documentation")["main"]
        try:
            main()
        except _Parsed as stopped:
            return stopped.parser

    raise ValueError(f"{path}: main() parses no command line")


def script_parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Each script of the workflow that has options, in the pipeline's order."""
    for path in sorted((ROOT / "scripts").glob("*.py")):
        if "parse_args" in path.read_text(encoding="utf-8"):
            yield path.name, script_parser(path)


def command_parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """The installed command, and each of its subcommands."""
    from tgdpet.cli import command

    parser = command.parser()
    yield "tgdpet", parser

    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from ((f"tgdpet {name}", one) for name, one in action.choices.items())


def _help_section(name: str, parser: argparse.ArgumentParser) -> str:
    with mock.patch.dict(os.environ, {"COLUMNS": str(HELP_WIDTH)}):
        text = parser.format_help().rstrip()

    return f"### `{name}`\n\n``` {{ .text .help }}\n{text}\n```"


def make_table() -> str:
    """The Makefile's targets, as `make help` lists them."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r'^\t@echo "make ([\w-]+) +(.+)"$', text, re.M)

    return "\n".join(
        ["| target | what it does |", "|---|---|"]
        + [f"| `make {name}` | {meaning} |" for name, meaning in targets]
    )


# --- The repository's pages ---


def readme_section(heading: str) -> str:
    """The text under a heading of README.md; `top` is what stands above the first."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    top, *parts = re.split(r"^## (.+)$", text, flags=re.M)

    sections = {"top": top.split("\n", 1)[1]}
    sections |= dict(zip(parts[0::2], parts[1::2], strict=True))
    if heading not in sections:
        raise ValueError(f"README.md has no section {heading!r}; it has {', '.join(sections)}")

    return sections[heading].strip()


def relink(text: str, source: str, page: str) -> str:
    """`text` of the repository's file `source`, its links as the site's page `page` writes them.

    A link to a file that is not on the site becomes the file's name.
    """
    made = {origin: name for name, origin in REPOSITORY_PAGES.items()}

    def one(match: re.Match[str]) -> str:
        image, words, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match[0]

        path, _, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))

        if path.startswith("docs/"):
            on_site = path.removeprefix("docs/")
        elif path in made:
            on_site = made[path]
        else:
            return f"`{path}`" if words.strip("`") == path else f"{words} (`{path}`)"

        new = posixpath.relpath(on_site, posixpath.dirname(page) or ".")
        return f"{image}[{words}]({new}{'#' + anchor if anchor else ''})"

    return LINK.sub(one, text)
