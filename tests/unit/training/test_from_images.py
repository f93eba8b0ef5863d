"""Adaptation to images that lie anywhere: the workflow's settings and steps, tables of pairs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tgdpet.cli.adapt import PETSIRD_PROTOCOL
from tgdpet.config.loading import load_config
from tgdpet.training import from_images


def test_settings_are_the_workflows(raw_config) -> None:  # type: ignore[no-untyped-def]
    config = load_config(raw_config())
    assert config.online == from_images.ONLINE
    assert config.adapt == from_images.PROTOCOL
    assert config.protocols["v2"] == PETSIRD_PROTOCOL

    for entry, network in (
        (from_images.ONLINE_ENTRY, "TGD-N2N"),
        (from_images.PROTOCOL_ENTRY, "TGD-net"),
    ):
        assert dataclasses.replace(config.networks[network], base=None) == entry


@pytest.mark.parametrize(
    ("parent", "name"),
    [
        ("v2-net", "v2-net-adapted"),
        ("v2-net-adapted", "v2-net-adapted-2"),
        ("v2-net-adapted-9", "v2-net-adapted-10"),
    ],
)
def test_each_round_has_a_name(parent: str, name: str) -> None:
    assert from_images.adapted_name(parent) == name


def test_pairs_lie_beside_their_table(tmp_path: Path) -> None:
    table = tmp_path / "pairs.tsv"
    table.write_text("study\tnoisy\ttarget\na\tx.nii\ty.nii\na\tz.nii\ty.nii\n")
    pairs = from_images.read_pairs(table)
    assert [pair.study for pair in pairs] == ["a", "a"]
    assert pairs[1].noisy == tmp_path / "z.nii"

    (tmp_path / "pairs.csv").write_text("noisy,target\nx.nii,y.nii\nz.nii,y.nii\n")
    studies = [pair.study for pair in from_images.read_pairs(tmp_path / "pairs.csv")]
    assert studies == ["study001", "study002"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("noisy\ttargt\nx\ty\n", "pairs.tsv: column 'target' is missing"),
        ("noisy\ttarget\n", "pairs.tsv: expected at least one pair"),
        ("noisy\ttarget\nx\ty\nz\t\n", "pairs.tsv: row 2: column 'target': empty"),
        (
            "study\tnoisy\ttarget\na\tx\ty\n\tz\ty\n",
            "pairs.tsv: row 2: column 'study': empty",
        ),
    ],
)
def test_tables_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "pairs.tsv"
    table.write_text(text)
    with pytest.raises(ValueError, match=message):
        from_images.read_pairs(table)

    with pytest.raises(FileNotFoundError, match="no such table"):
        from_images.read_pairs(tmp_path / "gone.tsv")
