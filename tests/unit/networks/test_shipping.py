"""Networks of a results folder become those of the package: same bits, measured domains."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from halves_of_a_study import activity, measured
from tgdpet.config.paths import image_path
from tgdpet.config.sections import Config, NetworkEntry, as_dict
from tgdpet.dataset.index import Pair, build
from tgdpet.io import nifti
from tgdpet.io.files import write_json
from tgdpet.networks import shipped, weights
from tgdpet.networks.shipping import ship
from training_cases import network

NETWORKS = {
    "v1-net": NetworkEntry(),
    "TGD-net": NetworkEntry(method="tgd", data="adapt", base="v1-net"),
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A finished run of two networks, each trained on two studies of one protocol."""
    root = tmp_path / "results"
    config = as_dict(Config(networks=NETWORKS, seeds=None))
    root.mkdir()
    (root / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))

    for data, protocol, counts in (("v1", "v1", 12.0), ("adapt", "v2", 6.0)):
        pairs = []
        for seed, study in enumerate(("a", "b")):
            images = []
            for sample, more in (("60s", 1), ("600s", 10)):
                image = measured(activity(), seed, counts * more)
                sidecar = {**image.sidecar, "FrameDuration": [60.0 * more]}
                path = image_path(root / "recon", f"{data}{study}", protocol, sample)
                nifti.write_image(path, image.data, image.affine, sidecar)
                images.append(path)
            pairs.append(Pair(f"{data}{study}", "60s", *images))
        build(pairs, [], root / "dataset" / data / "index.tsv")

    provenance = {"seed": 1, "software": {}, "device": "cpu", "finished": "", "host": "secret"}
    for name, folder in (("v1-net", "models"), ("TGD-net", "adapted")):
        path = root / folder / f"{name}.safetensors"
        weights.save(path, network(), weights.Card(name, 0.0625, 9000.0))
        write_json(path.with_suffix(".json"), {"provenance": provenance})

    return root


def test_weights_keep_their_bits_and_gain_a_domain(results: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shipped"
    made = ship(results, list(NETWORKS), folder)
    assert [item.name for item in made] == list(shipped.shipped(folder)) == list(NETWORKS)

    for item in made:
        model, card = weights.load(shipped.find(item.name, folder))
        for name, tensor in network().state_dict().items():
            assert torch.equal(model.state_dict()[name], tensor)
        assert card.domain["frame_s"] == [60.0, 60.0]
        assert "injected activity, MBq | 300 to 300" in item.card.read_text()

    # An adapted network also knows what its base was trained on.
    base, adapted = (shipped.shipped(folder)[name].domain["noise"] for name in NETWORKS)
    assert adapted[0] == base[0] and adapted[1] > 1.2 * base[1]
    assert made[1].trained_on == "v1-net, then 2 studies (Maker), protocol v2, 60 s"
    assert "secret" not in (folder / shipped.INDEX).read_text()


def test_one_is_replaced_and_the_others_stay(results: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shipped"
    ship(results, list(NETWORKS), folder)
    before = shipped.shipped(folder)["v1-net"]

    ship(results, ["TGD-net"], folder)
    assert list(shipped.shipped(folder)) == ["TGD-net", "v1-net"]
    assert shipped.shipped(folder)["v1-net"] == before


def test_what_the_run_lacks_is_named(results: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"v2-net: no network of .*; it has v1-net, TGD-net"):
        ship(results, ["v2-net"], tmp_path / "shipped")

    (results / "models/v1-net.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"v1-net\.safetensors: no such network"):
        ship(results, ["v1-net"], tmp_path / "shipped")
