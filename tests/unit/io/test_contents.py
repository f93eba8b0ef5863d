"""Declared contents: what fits passes, what does not is one line with file and key."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from tgdpet.io.contents import (
    LETTERS,
    WORD,
    Anything,
    ListOf,
    Number,
    Object,
    Text,
    Truth,
    check,
    check_table,
)

DECLARED = Object(
    needed={"name": Text(WORD), "n": Number(low=1, whole=True), "at_mm": ListOf(Number(), 3)},
    more={"on": Truth(), "weight_kg": Number(above=0, optional=True)},
)
RIGHT = {"name": "a-1", "n": 2, "at_mm": [1, 2.5, -3.0]}


@pytest.mark.parametrize("more", [{}, {"on": False}, {"weight_kg": None}, {"weight_kg": 70}])
def test_what_fits_passes(more):
    check({**RIGHT, **more}, DECLARED, "a.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../x"}, "name: expected a name of letters, digits and . _ + -, got '../x'"),
        ({"name": "a\x1b[31m"}, "name: expected a name of letters"),
        ({"name": "x" * 300}, "name: expected a name of letters"),
        ({"name": ["a"]}, "name: expected a name of letters, digits and . _ + -, got ['a']"),
        ({"n": 0}, "n: expected a whole number >= 1, got 0"),
        ({"n": 2.0}, "n: expected a whole number >= 1, got 2.0"),
        ({"n": True}, "n: expected a whole number >= 1, got True"),
        ({"n": 10**400}, "n: expected a whole number >= 1, got 1000"),
        ({"n": 10**5000}, "n: expected a whole number >= 1, got a int of more digits"),
        ({"at_mm": [1, 2]}, "at_mm: expected a list of 3 values, got [1, 2]"),
        ({"at_mm": [1, 2, math.inf]}, "at_mm[2]: expected a finite number, got inf"),
        ({"at_mm": [1, 2, 10**400]}, "at_mm[2]: expected a finite number, got 1000"),
        ({"at_mm": {}}, "at_mm: expected a list of 3 values, got {}"),
        ({"on": 1}, "on: expected true or false, got 1"),
        ({"on": None}, "on: expected true or false, got None"),
        ({"weight_kg": 0}, "weight_kg: expected a finite number > 0, got 0"),
        ({"colour": 1}, "unknown key 'colour'; allowed are on, weight_kg, name, n, at_mm"),
    ],
)
def test_what_does_not_fit_is_one_short_line(change, message):
    with pytest.raises(ValueError) as caught:
        check({**RIGHT, **change}, DECLARED, "a.json")
    text = str(caught.value)
    assert text.startswith(f"a.json: {message}")
    assert "\n" not in text and len(text) < 300 and text.isprintable()


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match=r"a\.json: 'n' is missing; expected name, n, at_mm"):
        check({"name": "a", "at_mm": [0, 0, 0]}, DECLARED, "a.json")
    with pytest.raises(ValueError, match=r"a\.json: expected an object, got None"):
        check(None, DECLARED, "a.json")


def test_what_is_carried_along_may_be_anything():
    check({"a": {"b": [None]}}, Object(others=Anything()), "a.json")


COLUMNS = {"study": Text(WORD), "n": Number(whole=True), "low": Number(optional=True)}


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("study", "../b", "column 'study', row 3: expected a name of letters"),
        ("n", 1.5, "column 'n', row 3: expected a whole number, got 1.5"),
        ("n", "many", "column 'n', row 3: expected a whole number, got 'many'"),
        ("n", math.nan, r"column 'n', row 3: no value \(NaN\)"),
        ("low", math.inf, "column 'low', row 3: expected a finite number, got inf"),
    ],
)
def test_a_cell_that_does_not_fit_is_named(column, value, message):
    table = pd.DataFrame({"study": ["a", "b"], "n": [1, 2], "low": [0.5, math.nan]}).astype(object)
    check_table(table, COLUMNS, Path("t.csv"))
    table.loc[1, column] = value
    with pytest.raises(ValueError, match=r"t\.csv: " + message):
        check_table(table, COLUMNS, Path("t.csv"))


def test_a_column_that_is_missing_is_named():
    with pytest.raises(
        ValueError, match=r"t\.csv: column 'low' is missing; expected study, n, low"
    ):
        check_table(pd.DataFrame({"study": ["a"], "n": [1]}), COLUMNS, "t.csv")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Text(choices=("v1", "v2")), "expected one of v1, v2, got 'a b'"),
        (Text(LETTERS), "expected letters and digits, got 'a b'"),
        (Text(longest=2), "expected a text of at most 2 printable characters, got 'a b'"),
    ],
)
def test_what_a_text_may_be_is_said(kind, message):
    with pytest.raises(ValueError, match=f"a.json: name: {message}"):
        check("a b", kind, "a.json", "name")
