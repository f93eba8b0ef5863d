"""What is said of a file that cannot be used is one line of printable characters, not long."""

from __future__ import annotations

import pytest

from tgdpet.io import damage


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("two\n  lines\tand a tab", "two lines and a tab"),
        ("a\x1b[31mred", r"a\x1b[31mred"),
        ("a\u202eb\x00", r"a\u202eb\x00"),
        ("é ü", "é ü"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text: str, line: str) -> None:
    for say in (damage.printable, damage.one_line, lambda text: damage.reason(ValueError(text))):
        assert say(text) == line


def test_a_librarys_error_is_named_and_cut() -> None:
    words = r"^a\.x: not a readable X file .*: one two$"
    with pytest.raises(ValueError, match=words), damage.readable("a.x", "X file"):
        raise RuntimeError("one\ntwo")

    assert damage.reason(KeyError()) == "KeyError"
    assert len(damage.reason(ValueError("x" * 10**5))) == damage.LONGEST_REASON
    assert len(damage.one_line("x" * 10**5)) == damage.LONGEST_LINE
