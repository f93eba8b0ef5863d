"""YAML is read as it is meant, or refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tgdpet.config.checks import check_seeds
from tgdpet.config.layers import read_layers
from tgdpet.config.loading import load_config, read_config
from tgdpet.config.schema import ConfigError
from tgdpet.config.yaml_files import parse_yaml, read_yaml

LAUGHS = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "train: {epochs: 40}\nseed: 1\n'train': {batch: 8}\n",
            "line 3: key 'train' is given twice; the first is in line 1",
        ),
        ("train:\n  epochs: 1\n  epochs: 2\n", "line 3: key 'epochs' is given twice"),
        ("list:\n- {a: 1, a: 2}\n", "line 2: key 'a' is given twice"),
        ("seed: 1:30", "line 1: '1:30' is 90 in YAML: write that, or a text in quotes"),
        ("\nseed: 2_1", "line 2: '2_1' is 21 in YAML"),
        ("seed: 010", "line 1: '010' is 8 in YAML"),
        ("phi: 1_0.5", "line 1: '1_0.5' is 10.5 in YAML"),
        ("phi: 1:30.5", "line 1: '1:30.5' is 90.5 in YAML"),
        ("seed: " + "1" * 311, "line 1: a number of more than 30 digits"),
        ("phi: 1." + "1" * 5000, "line 1: a number of more than 30 digits"),
        (LAUGHS, "more than 100000 values"),
        ("&a [*a]", "more than 100000 values"),
        ("a: " + "[" * 1000 + "]" * 1000, "not valid YAML: nested deeper than 50 levels"),
        ("a: 2026-13-45", "not valid YAML: month must be in 1..12"),
        ("a: !!python/name:os.system", "not valid YAML: could not determine a constructor"),
        ("a: 'open", "not valid YAML: while scanning a quoted scalar"),
    ],
)
def test_what_is_not_meant_is_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "c.yaml")
    said = str(caught.value)
    assert said.startswith(f"c.yaml: {message}") and "\n" not in said and len(said) < 500


@pytest.mark.parametrize(
    "text",
    ["a: -1\nb: +2.50\nc: 1.0e-3\nd: .5\ne: 0\nf: '1:30'\ng: 1:30 h\nh: .inf", "", "- 1\n- 2"],
)
def test_what_is_meant_is_read_as_yaml_says(text: str) -> None:
    assert parse_yaml(text, "c.yaml") == yaml.safe_load(text)


def test_aliases_and_merged_mappings_stay(tmp_path: Path) -> None:
    text = "a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  x: 3\nc: *a\n"
    assert parse_yaml(text, "c.yaml")["b"] == {"x": 3, "y": 2}


def test_our_own_configurations_are_read(root: Path) -> None:
    paths = [*(root / "config").glob("*.yaml"), root / "results/reference/config.yaml"]
    read_layers(paths)
    assert len(paths) > 4


def test_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    for read in (read_yaml, read_config):
        with pytest.raises(ConfigError, match=r"c\.yaml: no such configuration file"):
            read(path)
    path.write_bytes(b"a: \xff")
    with pytest.raises(ConfigError, match=r"c\.yaml: not a text file"):
        read_yaml(path)
    path.write_text("seed: 1\nseed: 2\n")
    with pytest.raises(ConfigError, match=r"c\.yaml: line 2: key 'seed'"):
        read_layers([path])


def nested() -> list[object]:
    """A small thing whose whole text would fill the memory."""
    value: list[object] = [1]
    for _ in range(60):
        value = [value] * 9
    return value


@pytest.mark.parametrize("key", ["seed", "train", "networks", "sampling", "results"])
@pytest.mark.parametrize(
    "value",
    [nested(), "x" * 10**6, 10**5000, -(10**311)],
    ids=["nested", "long", "of 5000 digits", "below any float"],
)
def test_messages_cut_long_values(raw_config, key: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config({**raw_config(), key: value}, "c.yaml")
    assert len(str(caught.value)) < 400
    with pytest.raises(ConfigError) as caught:
        check_seeds([value], "c.yaml")
    assert len(str(caught.value)) < 400


def test_large_numbers_are_refused_where_a_number_is_expected(raw_config) -> None:
    raw = raw_config()
    raw["train"] = {**raw["train"], "learning_rate": 10**400}
    with pytest.raises(ConfigError, match=r"train\.learning_rate: expected a number, got 1000"):
        load_config(raw, "c.yaml")


def test_a_name_that_no_file_could_have_is_refused(raw_config) -> None:
    raw = raw_config()
    raw["networks"] = {"x" * 300: {"method": "train", "data": "v1"}}
    with pytest.raises(ConfigError, match="a name has letters, .* at most 100"):
        load_config(raw, "c.yaml")
