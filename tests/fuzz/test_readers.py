"""Damaged files are read right or refused in one line, by every reader (some inputs; `fuzz.py` for
many).
"""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("hypothesis")

from promise import judge, try_reader
from readers import READERS

INPUTS = 60


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_right_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    outcome = try_reader(READERS[name], tmp_path / "files", INPUTS, seconds=20)
    assert not outcome.broken, "\n".join(outcome.broken)
    assert sum(outcome.counts.values()) > INPUTS / 2


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (KeyError("a"), "traceback"),
        (ValueError("no name"), "nameless"),
        (ValueError("a.json: two\nlines"), "not one line"),
        (ValueError("a.json: a \x1b[2J"), "not one line"),
        (ValueError("a.json: fine"), "refused"),
    ],
)
def test_what_breaks_the_promise_is_seen(tmp_path: Path, error: Exception, verdict: str) -> None:
    def read(path: Path) -> None:
        raise error

    reader = READERS["samples.json"]
    broken = type(reader)("x", "a.json", reader.write, read)
    assert judge(broken, tmp_path / "a.json", b"", None).startswith(verdict)


def test_another_value_is_seen(tmp_path: Path) -> None:
    reader = READERS["samples.json"]
    other = type(reader)("x", "a.json", reader.write, lambda path: ["other"], is_digested=True)
    assert judge(other, tmp_path / "a.json", b"", ["right"]).startswith("misread")
