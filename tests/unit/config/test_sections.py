"""Configurations: what ships is valid, what is wrong is named in one line, and the documents agree
with the code.
"""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml

from tgdpet.config import loading, sections
from tgdpet.config.loading import load_config
from tgdpet.config.sections import ConfigError


@pytest.mark.parametrize("name", ["config", "paper", "smoke"])
def test_shipped_configurations_are_valid(raw_config, name):
    loaded = load_config(raw_config(name), name)
    assert set(loaded.networks) == {"v1-net", "v2-net", "FT-net", "TGD-net", "TGD-N2N", "TGD2-N2N"}
    jsonschema.validate(raw_config(name), sections.schema())


def test_the_baselines_are_added_to_the_default_networks(raw_config):
    default = load_config(raw_config()).networks
    loaded = load_config(raw_config("baselines"), "baselines").networks
    assert dict(list(loaded.items())[: len(default)]) == default
    added = {n: e for n, e in loaded.items() if n not in default}
    for keys in [
        {
            "method": "finetune",
            "blocks": 8,
            "batchnorm": "eval",
            "penalty": "none",
            "replay": 0.0,
            "data": "adapt",
        },
        {"method": "finetune", "blocks": 8, "batchnorm": "train"},
        *({"penalty": p} for p in ("ewc", "lwf", "l2sp")),
        *({"mask": m, "method": "tgd", "phi": default["TGD-net"].phi} for m in ("l1", "random")),
        {"flow": "layer"},
        {"replay": 1.0},
        {"replay": 0.1},
        {"method": "train", "data": "n2n"},
        {"method": "finetune", "data": "n2n", "blocks": 8},
    ]:
        assert any(all(getattr(e, k) == v for k, v in keys.items()) for e in added.values()), keys
    jsonschema.validate(raw_config("baselines"), sections.schema())


def test_whole_numbers_stand_for_real_ones():
    scan_s = load_config({"simulation": {"scan_s": 700}}).simulation.scan_s
    assert scan_s == 700
    assert isinstance(scan_s, float)


def test_resolved_configuration_reads_back(raw_config, tmp_path):
    loaded = load_config(raw_config("smoke"))
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(sections.as_dict(loaded)))
    assert loading.read_config(tmp_path / "c.yaml") == loaded


def test_read_names_the_file(tmp_path):
    with pytest.raises(ConfigError, match="none.yaml: no such"):
        loading.read_config(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1,\nb: 2")
    with pytest.raises(ConfigError, match=r"bad.yaml: not valid YAML"):
        loading.read_config(tmp_path / "bad.yaml")


def test_defaults_keep_their_own_limits():
    assert load_config(sections.as_dict(sections.Config())) == sections.Config()


def test_schema_file_agrees_with_the_dataclasses(root):
    stored = json.loads((root / "workflow/schemas/config.schema.json").read_text())
    assert stored == json.loads(json.dumps(sections.schema())), "run: make schema"


@pytest.mark.parametrize(
    ("given", "per_axis"), [([11.5, 9.2, 0], [11.5, 9.2, 0.0]), (10, [10.0, 10.0, 10.0])]
)
def test_a_post_filter_is_given_per_axis_or_as_one_number(given, per_axis):
    raw = {"protocols": {"v1": {"post_fwhm_mm": given}, "v2": {}}}

    protocols = load_config(raw).protocols
    assert protocols["v1"].post_fwhm_mm == per_axis
    assert protocols["v2"].post_fwhm_mm == [0.0, 0.0, 0.0]

    jsonschema.validate(raw, sections.schema())


def test_schema_refuses_what_one_key_decides():
    for raw in (
        {"sede": 1},
        {"seed": "7"},
        {"networks": {"n": {"phi": 1.2}}},
        {"grid": {"shape": [64, 64]}},
        {"networks": {"a b": {}}},
        {"simulation": {"scan_s": 0}},
        {"device": "gpu"},
        {"protocols": {"v1": {"post_fwhm_mm": 51}}},
        {"protocols": {"v1": {"post_fwhm_mm": [9, 9]}}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(raw, sections.schema())


@pytest.mark.parametrize("path", ["results", "../out/run-1", "/scratch/a_b.c+d@e=f", "ä/b"])
def test_paths_that_can_be_used(path):
    assert loading.load_config({"results": path}).results == path
