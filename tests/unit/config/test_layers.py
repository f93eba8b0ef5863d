"""What a later file or the command line makes void of what was said before."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tgdpet.config.layers import settle

SHARE = {"fraction": 0.35, "fraction_of": "alive"}
PHI = {"phi": 0.4}


def merged(*layers: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {"method": "tgd"}
    for layer in layers:
        entry |= layer
    return {"networks": {"TGD-net": entry}}


def said(*layers: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"networks": {"TGD-net": layer}} for layer in layers]


@pytest.mark.parametrize(
    ("layers", "phi_counts"),
    [
        ([SHARE], False),
        ([SHARE, PHI], True),
        ([PHI, SHARE], False),
        ([SHARE, PHI, SHARE], False),
        ([SHARE, PHI, {"batchnorm": "eval"}], True),
        ([{**SHARE, **PHI}], False),  # one that a run resolved names every key
        ([SHARE, {**PHI, "fraction": None}], True),
    ],
)
def test_the_one_said_last_counts(layers: list[dict[str, Any]], phi_counts: bool) -> None:
    config = merged(*layers)
    before = copy.deepcopy(config)
    settle(config, said(*layers))

    if phi_counts:
        entry = config["networks"]["TGD-net"]
        assert "fraction" not in entry and "fraction_of" not in entry
        assert entry["phi"] == 0.4
    else:
        assert config == before


MADE = {"method": "tgd", "base": "v1-net", "data": "adapt", **SHARE}
FILE = {"weights": "mine.safetensors"}


@pytest.mark.parametrize(
    ("layers", "left"),
    [
        ([MADE, FILE], {"data": "v2", **FILE}),
        ([MADE, {**FILE, "data": "v1"}], {"data": "v1", **FILE}),
        ([MADE, {**FILE, **PHI}], {"data": "v2", **FILE, **PHI}),  # which the checks refuse
        ([MADE, FILE, PHI], {"data": "v2", **FILE, **PHI}),
        ([{**MADE, **FILE}], {**MADE, **FILE}),
        ([MADE, FILE, {"weights": None}], {**MADE, "weights": None}),
    ],
)
def test_a_file_replaces_how_a_network_is_made(
    layers: list[dict[str, Any]], left: dict[str, Any]
) -> None:
    config = merged(*layers)
    settle(config, said(*layers))
    entry = config["networks"]["TGD-net"]
    assert {**entry, "method": None} == {**left, "method": None}


@pytest.mark.parametrize("networks", [None, 3, {"TGD-net": None}, {"TGD-net": 3}, {}])
def test_what_is_no_network_is_left_to_the_checks(networks: Any) -> None:
    config = {"networks": networks}
    settle(config, [{"networks": networks}, {}])
    assert config == {"networks": networks}
