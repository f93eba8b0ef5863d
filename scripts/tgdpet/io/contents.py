"""What a JSON file or a table has to hold: types and ranges, declared once beside its reader.

A declaration is one of the classes below; `check` compares parsed JSON with it, `check_table` the
columns of a table. Errors are one line: file, key or column and row, expected, got.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .damage import shown

if TYPE_CHECKING:
    import pandas as pd

LARGEST_WHOLE = 2**53  # the largest of JSON's numbers that every reader keeps
# What a file may be called in part; `config.schema.NAME` is for names that a user chooses.
WORD = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}"
LETTERS = r"[A-Za-z0-9]+"
NETWORK = r"[A-Za-z0-9][A-Za-z0-9._+@-]{0,199}"  # NAME@PHI is one of a sweep


@dataclass(frozen=True)
class Number:
    """A finite number, `low` <= x <= `high` and x > `above`; `whole` ones only; None or an empty
    cell where it is `optional`; of a table, infinity where it is allowed by `infinite`.
    """

    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf
    whole: bool = False
    optional: bool = False
    infinite: bool = False

    def __str__(self) -> str:
        limits = []
        for sign, limit in ((">", self.above), (">=", self.low), ("<=", self.high)):
            if math.isfinite(limit):
                limits.append(f"{sign} {limit:g}")

        kind = "a whole number" if self.whole else "a finite number"
        return " ".join([kind, " and ".join(limits)]).strip()

    def holds(self, value: Any) -> bool:
        """Whether `value` is such a number."""
        kinds = int if self.whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            return False

        if isinstance(value, int) and abs(value) > LARGEST_WHOLE and self.whole:
            return False

        try:
            number = float(value)
        except OverflowError:
            return False

        is_allowed = math.isfinite(number) or (self.infinite and number == math.inf)
        return is_allowed and self.low <= number <= self.high and number > self.above


@dataclass(frozen=True)
class Text:
    """A text, of `choices` or fully matching `pattern` where they are given, of printable
    characters (unless it is `raw`: of other programs, never shown) and not longer than `longest`.
    """

    pattern: str | None = None
    choices: Sequence[str] = ()
    longest: int = 1000
    raw: bool = False
    optional: bool = False

    def __str__(self) -> str:
        if self.choices:
            return f"one of {', '.join(self.choices)}"

        if self.pattern == LETTERS:
            return "letters and digits"

        if self.pattern in (WORD, NETWORK):
            return "a name of letters, digits and . _ + -"

        return f"a text of at most {self.longest} printable characters"

    def holds(self, value: Any) -> bool:
        """Whether `value` is such a text."""
        if not isinstance(value, str) or len(value) > self.longest:
            return False

        if not (self.raw or value.isprintable()):
            return False

        if self.choices:
            return value in self.choices

        return self.pattern is None or re.fullmatch(self.pattern, value) is not None


@dataclass(frozen=True)
class Truth:
    """True or false."""

    optional: bool = False

    def __str__(self) -> str:
        return "true or false"

    def holds(self, value: Any) -> bool:
        """Whether `value` is true or false."""
        return isinstance(value, bool)


@dataclass(frozen=True)
class ListOf:
    """A list of values of one kind, of `length` of them where it is given."""

    item: Kind
    length: int | None = None
    optional: bool = False

    def __str__(self) -> str:
        return "a list" if self.length is None else f"a list of {self.length} values"

    def holds(self, value: Any) -> bool:
        """Whether `value` is a list of this length; its values are checked one by one."""
        return isinstance(value, list) and self.length in (None, len(value))


@dataclass(frozen=True)
class Object:
    """An object with the keys `needed`, perhaps those of `more`; of other keys none where `others`
    is None, else any with values of that kind.
    """

    needed: Mapping[str, Kind] = field(default_factory=dict)
    more: Mapping[str, Kind] = field(default_factory=dict)
    others: Kind | None = None
    optional: bool = False

    def __str__(self) -> str:
        return "an object"

    def holds(self, value: Any) -> bool:
        """Whether `value` is an object; its keys and values are checked one by one."""
        return isinstance(value, dict)


@dataclass(frozen=True)
class Anything:
    """Any value: what is carried along and not used."""

    optional: bool = True

    def __str__(self) -> str:
        return "anything"

    def holds(self, value: Any) -> bool:
        """Always."""
        return True


Kind = Number | Text | Truth | ListOf | Object | Anything
CellKind = Number | Text | Truth


def check(value: Any, kind: Kind, source: str | Path, key: str = "") -> None:
    """Raise ValueError unless `value` is of a kind; it names the source, the key, what was expected
    and what came.
    """
    if value is None and kind.optional:
        return

    where = f"{source}: {key}" if key else f"{source}"
    if not kind.holds(value):
        raise ValueError(f"{where}: expected {kind}, got {shown(value)}")

    if isinstance(kind, ListOf):
        for number, item in enumerate(value):
            check(item, kind.item, source, f"{key}[{number}]")

    if isinstance(kind, Object):
        _check_object(value, kind, source, key)


def _check_object(value: dict[str, Any], kind: Object, source: str | Path, key: str) -> None:
    for name in kind.needed:
        if name not in value:
            expected = ", ".join(kind.needed)
            raise ValueError(f"{source}: {_dot(key, name)!r} is missing; expected {expected}")

    known = {**kind.more, **kind.needed}
    for name, inner in value.items():
        inner_kind = known.get(name, kind.others)
        if inner_kind is None:
            allowed = ", ".join(known)
            raise ValueError(
                f"{source}: unknown key {shown(_dot(key, name))}; allowed are {allowed}"
            )

        check(inner, inner_kind, source, _dot(key, name))


def check_table(table: pd.DataFrame, columns: Mapping[str, CellKind], path: str | Path) -> None:
    """Raise ValueError unless every cell of the `columns` is of its kind.

    It names the file, the column, the row as an editor counts (the heads being row 1), what was
    expected and what came.
    """
    for column, kind in columns.items():
        if column not in table:
            raise ValueError(f"{path}: column {column!r} is missing; expected {', '.join(columns)}")

        # Each value once, where it stands first.
        different = table[column].drop_duplicates()
        for row, value in zip(different.index.tolist(), different.tolist(), strict=True):
            is_empty = isinstance(value, float) and math.isnan(value)
            if is_empty and kind.optional:
                continue

            where = f"{path}: column {column!r}, row {row + 2}"
            if is_empty:
                raise ValueError(f"{where}: no value (NaN)")

            if not _cell_holds(value, kind):
                raise ValueError(f"{where}: expected {kind}, got {shown(value)}")


def _cell_holds(value: Any, kind: CellKind) -> bool:
    # A column with empty cells holds whole numbers as floats, and one of digits no texts.
    if isinstance(kind, Number) and kind.whole and isinstance(value, float):
        return value.is_integer() and kind.holds(int(value))

    if isinstance(kind, Text) and not isinstance(value, str):
        return kind.holds(str(value))

    return kind.holds(value)


def _dot(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
