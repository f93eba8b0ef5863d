"""YAML as it is meant: each key once, and numbers in the one way of writing that people read alike.

YAML 1.1 takes the last of two equal keys in silence, 1:30 for 90, 010 for 8 and 2_1 for 21.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..io.damage import reason, shown
from .schema import ConfigError

if TYPE_CHECKING:
    import yaml

MOST_NODES = 100_000  # keys and values, those of aliases counted wherever they stand
MOST_DIGITS = 30
DEEPEST = 50  # levels; ours have four
INT, FLOAT, MERGE = (f"tag:yaml.org,2002:{name}" for name in ("int", "float", "merge"))
NUMBER = {
    INT: re.compile(r"[-+]?(0|[1-9][0-9]*)"),
    FLOAT: re.compile(
        r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.nan"
    ),
}


def read_yaml(path: str | Path) -> Any:
    """The content of a YAML file; ConfigError naming file and line where it is not to be read, a
    key is given twice, or a number is written in a way that means another one.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such configuration file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a text file: {reason(error)}") from error

    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str) -> Any:
    """The content of YAML text, as `read_yaml`; `source` is named in errors."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Stops where a file is nested deeper than any that is meant."""

        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            """One node; those inside it are composed on the way."""
            if self.depth == DEEPEST:
                raise ConfigError(f"{source}: not valid YAML: nested deeper than {DEEPEST} levels")

            self.depth += 1
            node = super().compose_node(parent, index)
            self.depth -= 1

            return node

    try:
        root = yaml.compose(text, Loader)
        if root is None:
            return None

        for count, node in enumerate(_nodes(root)):
            if count == MOST_NODES:
                raise ConfigError(f"{source}: more than {MOST_NODES} values (aliases of aliases?)")
            _check(node, source)

        return yaml.safe_load(text)
    except ConfigError:
        raise
    except Exception as error:  # a date that is none, say
        raise ConfigError(f"{source}: not valid YAML: {reason(error)}") from error


def _nodes(root: yaml.Node) -> Iterator[yaml.Node]:
    """Every node below and with `root`; aliased ones wherever they stand."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node

        # A mapping's value is pairs, a sequence's nodes, a scalar's its text.
        if not isinstance(node.value, str):
            for child in node.value:
                waiting += child if isinstance(child, tuple) else [child]


def _check(node: yaml.Node, source: str) -> None:
    if isinstance(node.value, str):
        _check_number(node, source)
        return

    pairs = [child for child in node.value if isinstance(child, tuple)]
    lines: dict[tuple[str, str], int] = {}
    for key, _ in pairs:
        if not isinstance(key.value, str) or key.tag == MERGE:
            continue

        name = (key.tag, key.value)
        if name in lines:
            twice = f"key {shown(key.value)} is given twice"
            first = f"the first is in line {lines[name]}"
            raise ConfigError(f"{source}: line {_line(key)}: {twice}; {first}")
        lines[name] = _line(key)


def _check_number(node: yaml.Node, source: str) -> None:
    pattern = NUMBER.get(node.tag)
    if pattern is None:
        return

    where = f"{source}: line {_line(node)}"
    if sum(map(str.isdigit, node.value)) > MOST_DIGITS:
        raise ConfigError(f"{where}: a number of more than {MOST_DIGITS} digits")

    if not pattern.fullmatch(node.value):
        import yaml

        meant = yaml.safe_load(node.value)
        raise ConfigError(
            f"{where}: {shown(node.value)} is {meant} in YAML: write that, or a text in quotes"
        )


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
