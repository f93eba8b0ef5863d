"""Networks on disk: what is written is read, the same network is the same bytes, and damage is
named.
"""

from __future__ import annotations

import json
import os
import resource
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from tgdpet.io.files import NETWORK_KEY
from tgdpet.networks import weights
from tgdpet.networks.dncnn import DnCNN

pytestmark = pytest.mark.usefixtures("one_thread")


def test_round_trip(tmp_path):
    model = DnCNN(0.125, torch.Generator().manual_seed(1)).to(memory_format=torch.channels_last)
    card = weights.Card(
        "net", 0.125, 4321.0, ["base"], {"blocks.0.conv": [1, 3]}, {"l2": 1e-4}, {"seed": 1}
    )
    weights.save(tmp_path / "net.safetensors", model, card)
    again, found = weights.load(tmp_path / "net.safetensors")
    assert found == card
    assert not again.training
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    )


def test_same_network_same_bytes(tmp_path):
    for name in "ab":
        model = DnCNN(0.125, torch.Generator().manual_seed(1))
        weights.save(tmp_path / name, model, weights.Card("net", 0.125, 1.0))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_damage_is_named(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(FileNotFoundError, match=r"x\.safetensors"):
        weights.load(path)
    path.write_bytes(np.zeros(64, np.uint8).tobytes())
    with pytest.raises(ValueError, match=r"x\.safetensors.*not a readable"):
        weights.load(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"x\.safetensors.*not a network"):
        weights.load(path)
    weights.save(path, DnCNN(0.125), weights.Card("net", 0.25, 1.0))
    with pytest.raises(ValueError, match=r"x\.safetensors.*width 0\.25"):
        weights.load(path)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (
            {"intensity_scale_bqml": float("nan")},
            r"intensity_scale_bqml: expected a finite number > 0, got None",
        ),
        ({"intensity_scale_bqml": 0}, r"intensity_scale_bqml: expected a finite number > 0, got 0"),
        ({"width": "wide"}, r"width: expected a finite number > 0 and <= 64, got 'wide'"),
    ],
)
def test_a_card_that_cannot_be_is_named(tmp_path, change, cause):
    path, model = tmp_path / "x.safetensors", DnCNN(0.125)
    card = {"network": "net", "width": 0.125, "intensity_scale_bqml": 1.0, **change}
    weights.write_tensors(path, dict(model.state_dict()), {NETWORK_KEY: json.dumps(card)})
    with pytest.raises(ValueError, match=r"x\.safetensors.*" + cause):
        weights.load(path)
    weights.write_tensors(path, dict(model.state_dict()), {NETWORK_KEY: "{"})
    with pytest.raises(ValueError, match=r"x\.safetensors.*not valid JSON"):
        weights.load(path)


def test_weights_that_are_not_numbers_are_neither_written_nor_read(tmp_path):
    path, model = tmp_path / "x.safetensors", DnCNN(0.125)
    card = {"network": "net", "width": 0.125, "intensity_scale_bqml": 1.0}
    model.blocks[3].conv.weight.data[0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"x\.safetensors: blocks\.3\.conv\.weight holds NaN"):
        weights.save(path, model, weights.Card("net", 0.125, 1.0))
    assert not path.exists()
    weights.write_tensors(path, dict(model.state_dict()), {NETWORK_KEY: json.dumps(card)})
    with pytest.raises(ValueError, match=r"x\.safetensors: blocks\.3\.conv\.weight holds NaN"):
        weights.load(path)


def test_a_full_disk_is_an_os_error_that_names_the_file(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(weights, "save_file", full)
    with pytest.raises(OSError, match=r"x\.safetensors: cannot be written: .*No space left"):
        weights.save(tmp_path / "x.safetensors", DnCNN(0.125), weights.Card("net", 0.125, 1.0))


def test_what_is_written_can_be_read_by_whom_the_umask_allows(tmp_path):
    before = os.umask(0o027)
    try:
        weights.save(
            tmp_path / "net.safetensors", DnCNN(0.0625), weights.Card("net", 0.0625, 1000.0)
        )
    finally:
        os.umask(before)
    assert (tmp_path / "net.safetensors").stat().st_mode & 0o777 == 0o640


def test_the_cards_mask_becomes_booleans_of_the_scored_modules():
    # the last is read by nothing: never scored, so in no mask
    model, last = (
        DnCNN(0.0625),
        "blocks.7.conv",
    )
    card = weights.Card(
        "net", 0.0625, 1.0, mask={"blocks.0.conv": [3, 1], "blocks.3.conv": [], last: [0, 2]}
    )
    found = weights.masks(model, card)
    assert last in dict(model.named_modules()) and list(found) == ["blocks.0.conv", "blocks.3.conv"]
    assert found["blocks.0.conv"].tolist() == [False, True, False, True]
    assert found["blocks.3.conv"].dtype == torch.bool and not found["blocks.3.conv"].any()


@pytest.mark.parametrize("channel", [4, -1, 0.5, "1", None])
def test_a_mask_of_channels_that_the_network_lacks_is_refused(channel):
    card = weights.Card("net", 0.0625, 1.0, mask={"blocks.0.conv": [0, channel]})
    with pytest.raises(
        ValueError, match=r"net: mask of blocks\.0\.conv: expected channels from 0 to 3"
    ):
        weights.masks(DnCNN(0.0625), card)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "net.safetensors"
    weights.save(path, DnCNN(0.0625), weights.Card("net", 0.0625, 4321.0, ["base"]))
    return path


def test_a_changed_bit_of_weights_or_card_is_found(saved):
    content = saved.read_bytes()
    rng = np.random.default_rng(0)
    for bit in rng.choice(8 * len(content), 400, replace=False):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << int(bit) % 8
        saved.write_bytes(changed)
        with pytest.raises(ValueError, match=r"net\.safetensors: "):
            weights.load(saved)

    saved.write_bytes(content.replace(b"4321.0", b"4321.5"))
    with pytest.raises(ValueError, match=r"net\.safetensors: damaged: expected the digest"):
        weights.load(saved)


def test_a_card_that_claims_a_wide_network_takes_no_memory(saved):
    """Width 40 would be 6 GB."""
    tensors, metadata = weights.read_tensors(saved)
    card = {**json.loads(metadata[NETWORK_KEY]), "width": 40}
    del card["digest"]
    weights.write_tensors(saved, tensors, {NETWORK_KEY: json.dumps(card)})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"do not fit a DnCNN of width 40: 'blocks\.0"):
        weights.load(saved)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


def test_weights_of_another_type_are_refused(saved):
    tensors, metadata = weights.read_tensors(saved)
    card = json.loads(metadata[NETWORK_KEY])
    del card["digest"]
    tensors["blocks.0.conv.weight"] = tensors["blocks.0.conv.weight"].view(torch.int32)
    weights.write_tensors(saved, tensors, {NETWORK_KEY: json.dumps(card)})
    with pytest.raises(ValueError, match=r"torch\.float32 \[4, 3, 3, 3\], got torch\.int32"):
        weights.load(saved)


@pytest.mark.parametrize(
    "change", [{"network": "a\x1b[2Jb"}, {"parents": ["<b>x</b>"]}, {"mask": 1}]
)
def test_names_that_a_terminal_or_a_page_would_obey_are_refused(tmp_path, change):
    card = weights.Card("net", 0.0625, 1.0)
    with pytest.raises(ValueError, match=r"x\.safetensors: (network|parents\[0\]|mask): expected"):
        weights.save(tmp_path / "x.safetensors", DnCNN(0.0625), replace(card, **change))

    content = {"network": "net", "width": 0.0625, "intensity_scale_bqml": 1.0, **change}
    tensors = dict(DnCNN(0.0625).state_dict())
    weights.write_tensors(tmp_path / "x", tensors, {NETWORK_KEY: json.dumps(content)})
    with pytest.raises(ValueError) as caught:
        weights.load(tmp_path / "x")
    assert str(caught.value).isprintable()
