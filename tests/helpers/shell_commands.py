"""Commands that a page shows, checked against what would run them, without running them."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import shlex
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
PLACEHOLDER = re.compile(r"[A-Z_]+")  # RULE, say


class Wrong(Exception):
    """What is wrong with a command."""


@cache
def hooks() -> ModuleType:
    """The documentation's hook, which reads the scripts' parsers."""
    spec = importlib.util.spec_from_file_location("documentation_hooks", ROOT / "docs/hooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    return module


def lines(text: str) -> list[list[str]]:
    """The words of each command of a shell block; comments and continuations are taken away."""
    joined = re.sub(r"\\\n\s*", "", text)
    words = (shlex.split(line, comments=True) for line in joined.splitlines())

    return [line for line in words if line]


def check(words: list[str], copied: dict[str, str] | None = None) -> bool:
    """Whether somebody here knows the command; raises Wrong where it would be refused.

    `copied` maps folders that the page has made to those they were copied from.
    """
    copied = {} if copied is None else copied

    for names, checker in CHECKERS.items():
        if tuple(words[: len(names)]) == names:
            checker(words[len(names) :], copied)
            return True

    if words[0] == "python" and len(words) > 1 and words[1].endswith(".py"):
        _script(words[1], words[2:])
        return True

    return False


def options_exist(words: list[str]) -> None:
    """Check a command that the text only mentions, so that what is required may be missing."""
    if words[0] == "python" and words[1].endswith(".py"):
        text = _help_of_script(words[1])
    elif words[0] == "tgdpet" or words[:3] == ["python", "-m", "tgdpet"]:
        text = "\n".join(parser.format_help() for _, parser in hooks().command_parsers())
    else:
        check(words)
        return

    for word in words:
        if word.startswith("--") and word.split("=")[0] not in text:
            raise Wrong(f"no option {word}")


# --- Those who know ---


def _parse(parse: Callable[[list[str]], object], words: list[str]) -> object:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return parse(words)
    except SystemExit as stopped:
        if stopped.code:
            raise Wrong(said.getvalue().strip().splitlines()[-1]) from None
        return None


def _script(path: str, words: list[str]) -> None:
    if not (ROOT / path).is_file():
        raise Wrong(f"{path}: no such file")

    if path.startswith("scripts/") and "--help" not in words:
        _parse(_script_parser(path).parse_args, words)
        return

    text = _help_of_script(path)
    if missing := [word for word in words if word.startswith("--") and word not in text]:
        raise Wrong(f"{path}: no option {missing[0]}")


@cache
def _script_parser(path: str) -> object:
    return hooks().script_parser(ROOT / path)


def _help_of_script(path: str) -> str:
    """The help of a script of the pipeline; of an example or a benchmark, its source."""
    if not (ROOT / path).is_file():
        raise Wrong(f"{path}: no such file")
    if path.startswith("scripts/"):
        return _script_parser(path).format_help()

    return (ROOT / path).read_text(encoding="utf-8") + "--help"


def _tgdpet(words: list[str], copied: dict[str, str]) -> None:
    parser = next(parser for name, parser in hooks().command_parsers() if name == "tgdpet")
    _parse(parser.parse_args, words)


def _make(words: list[str], copied: dict[str, str]) -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):", text, re.M))
    variables = set(re.findall(r"^(\w+) *[:?]=", text, re.M))

    for word in words:
        name, given, _ = word.partition("=")
        if name not in (variables if given else targets):
            raise Wrong(f"the Makefile has no {'variable' if given else 'target'} {name}")


@cache
def _snakemake_parser() -> object:
    from snakemake.cli import get_argument_parser

    return get_argument_parser()


@cache
def _rules() -> set[str]:
    files = [*(ROOT / "workflow").rglob("*.smk"), ROOT / "workflow/Snakefile", ROOT / "Snakefile"]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    found = re.findall(r"^\s*(?:rule|checkpoint) (\w+):", text, re.M)
    found += re.findall(r"^\s*use rule \w+ .*\bas (\w+)", text, re.M)

    return set(found)


def _snakemake(words: list[str], copied: dict[str, str]) -> None:
    args = _parse(_snakemake_parser().parse_args, words)

    for path in args.configfile or []:
        if not (ROOT / path).is_file():
            raise Wrong(f"no configuration file {path}")

    for path in filter(None, (args.profile, args.workflow_profile)):
        if not (ROOT / copied.get(str(path), str(path)) / "profile.yaml").is_file():
            raise Wrong(f"no profile {path}")

    for target in {*args.targets, *(args.forcerun or [])}:
        name = str(target)
        if name not in _rules() and not PLACEHOLDER.fullmatch(name):
            raise Wrong(f"no rule {name}")


def _copy(words: list[str], copied: dict[str, str]) -> None:
    """`cp -r FROM TO`."""
    if len(words) != 2 or not (ROOT / words[0]).is_dir():
        raise Wrong(f"no folder {words[0]}")

    copied[words[1]] = words[0]


CHECKERS: dict[tuple[str, ...], Callable[[list[str], dict[str, str]], None]] = {
    ("snakemake",): _snakemake,
    ("tgdpet",): _tgdpet,
    ("python", "-m", "tgdpet"): _tgdpet,
    ("make",): _make,
    ("cp", "-r"): _copy,
}
