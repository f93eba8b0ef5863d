"""What is said of a file that cannot be used: one line of printable characters, not long."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LONGEST_LINE = 2000  # characters of an error
LONGEST_REASON = 300  # characters of another library's message

_short = reprlib.Repr()
_short.maxlevel = 3
_short.maxstring = 60
_short.maxother = 60
_short.maxlong = 40


def shown(value: Any) -> str:
    """A value for a message, however large or nested it is: at most a few words of it."""
    try:
        text = _short.repr(value)
    except ValueError:  # a whole number of more digits than Python turns into text
        text = f"a {type(value).__name__} of more digits than can be"

    return printable(text if len(text) <= 120 else text[:117] + "...")


def printable(text: str) -> str:
    """Text in one line; control characters, which a terminal would obey, as escapes."""
    line = " ".join(text.split())

    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def one_line(text: str) -> str:
    """A message in one line that is not too long to be read."""
    line = printable(text)

    return line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 3] + "..."


def reason(error: BaseException) -> str:
    """The message of another library's error, in one line."""
    text = printable(str(error)) or type(error).__name__

    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 3] + "..."


@contextmanager
def readable(path: str | Path, kind: str) -> Iterator[None]:
    """Turn whatever a library raises on reading a damaged file into a ValueError that names it.

    `kind` says what the file should be: "JSON file". Libraries raise anything: struct.error,
    KeyError, RecursionError, MemoryError.
    """
    try:
        yield
    except Exception as error:
        raise ValueError(f"{path}: not a readable {kind} (truncated?): {reason(error)}") from error
