"""Networks of earlier versions stay readable and say the same; those of later ones are refused with
a sentence.
"""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open

from tgdpet.io.files import NETWORK_KEY
from tgdpet.networks import weights
from tgdpet.networks.dncnn import DnCNN

pytestmark = pytest.mark.usefixtures("one_thread")

# By the code that wrote it (the first commit with weights), in float64: every fourth row and third
# column of channel 1.
FIRST_OUTPUT = [
    1.918843795,
    1.212988184,
    0.163360312,
    1.790409912,
    1.813832147,
    0.165261483,
    1.048477093,
    1.763610895,
    0.819044992,
    0.378299346,
    1.897541749,
    0.775301828,
]


@pytest.fixture
def first(root):
    """Width 0.0625, trained for 60 steps, so that its running statistics are not the start's."""
    return root / "tests/data/network-0.1.safetensors"


def card_of(path):
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()[NETWORK_KEY])


def test_the_first_version_is_read_and_gives_the_same_output(first):
    assert first.stat().st_size < 60_000 and "format" not in card_of(first)
    model, card = weights.load(first)
    assert card == weights.Card(
        "old-net",
        0.0625,
        4321.0,
        ["base-net"],
        {"blocks.0.conv": [1, 3]},
        {"l2": 1e-4},
        {"seed": 7},
    )
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(10.0), indexing="ij")
    stack = torch.stack([1 + torch.sin(0.7 * x.double() + 0.3 * y + c) for c in range(3)])[None]
    with torch.no_grad():
        out = model.double()(stack)[0]
    expected = torch.tensor(FIRST_OUTPUT, dtype=torch.float64)
    torch.testing.assert_close(out[1, ::4, ::3].flatten(), expected, atol=1e-6, rtol=0)
    assert out.mean().item() == pytest.approx(1.0111807800, abs=1e-6)


def test_what_is_written_names_its_format(tmp_path):
    weights.save(tmp_path / "x.safetensors", DnCNN(0.125), weights.Card("net", 0.125, 1.0))
    assert card_of(tmp_path / "x.safetensors")["format"] == 1 == weights.WEIGHTS_FORMAT


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (
            {"format": 2},
            r"format 2 is newer than what tgdpet [\d.]+ reads \(up to 1\): update tgdpet",
        ),
        ({"format": 2, "width": None}, r"format 2 is newer"),  # whatever else a newer card may hold
        ({"format": 0}, r"format: expected a whole number >= 1, got 0"),
        ({"format": "1"}, r"format: expected a whole number >= 1, got '1'"),
        ({"format": True}, r"format: expected a whole number >= 1, got True"),
        ([1, 2], r"expected an object, got \[1, 2\]"),
    ],
)
def test_a_format_that_is_not_known_is_refused(tmp_path, content, cause):
    path = tmp_path / "x.safetensors"
    if isinstance(content, dict):
        content = {"network": "net", "width": 0.125, "intensity_scale_bqml": 1.0, **content}
    weights.write_tensors(path, dict(DnCNN(0.125).state_dict()), {NETWORK_KEY: json.dumps(content)})
    with pytest.raises(ValueError, match=r"x\.safetensors: .*" + cause):
        weights.load(path)
