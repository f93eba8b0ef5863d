"""Gain and forgetting on the way of an adaptation, and at equal gain."""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest

from tgdpet.config.loading import load_config
from tgdpet.config.paths import RunFiles
from tgdpet.evaluation.adaptation_paths import forgetting_at_equal_gain, read_path

START = {"start_validation_loss": 0.5, "start_old_loss": 0.2}
ADAPTED = {"method": "tgd", "base": "v1-net", "data": "adapt"}
LOG = """step,epoch,loss,validation_loss,old_loss
10,0,0.5,0.45,0.22
20,0,0.4,0.4,0.21
30,1,0.4,0.42,0.24
"""


@pytest.fixture
def files(tmp_path) -> RunFiles:
    networks = {"v1-net": {"data": "v1"}, "n": ADAPTED}
    config = load_config({"adapt": {"log_old": True}, "networks": networks})
    (tmp_path / "adapted").mkdir()
    (tmp_path / "adapted/n.json").write_text(json.dumps({"network": "n", **START}))
    (tmp_path / "adapted/n_log.csv").write_text(LOG)
    return RunFiles(tmp_path, config, ())


def way(*points: tuple[float, float]) -> pd.DataFrame:
    return pd.DataFrame(points, columns=["gain", "forgetting"])


def test_a_way_starts_at_the_base(files):
    path = read_path(files, "n")
    assert path["step"].tolist() == [0, 10, 20, 30]
    assert path["gain"].tolist() == pytest.approx([0, 10, 20, 16])
    assert path["forgetting"].tolist() == pytest.approx([0, 10, 5, 20])


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("n.json", "{}", "n.json: 'start_validation_loss' is missing"),
        ("n.json", '{"start_validation_loss": 0, "start_old_loss": 1}', "n.json: start_valid"),
        ("n_log.csv", LOG.replace(",old_loss", ",other"), "n_log.csv.*old_loss"),
    ],
)
def test_what_is_missing_is_named(files, name, text, said):
    (files.root / "adapted" / name).write_text(text)
    with pytest.raises(ValueError, match=said):
        read_path(files, "n")


def test_equal_gain_is_what_both_reach():
    slow = way((0, 0), (2, 1), (6, 2), (5, 4))
    fast = way((0, 0), (7, 9), (10, 3), (12, 5))
    assert forgetting_at_equal_gain(slow, fast) == (2, 3, 6)
    assert forgetting_at_equal_gain(fast, slow) == (3, 2, 6)


def test_nothing_gained_is_nothing_forgotten():
    harmful = way((0, 0), (-3, 5))
    other = way((0, 0), (4, 1))
    a, b, gain = forgetting_at_equal_gain(harmful, other)
    assert (a, b, gain) == (0, 0, 0)
    assert not math.isnan(a)
