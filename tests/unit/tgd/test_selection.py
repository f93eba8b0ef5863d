"""Which kernels are chosen by a fraction of the living ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tgdpet import tgd

SCORES = {
    "a": torch.tensor([0.9, 0.1, 0.5, 0.2], dtype=torch.float64),
    "b": torch.tensor([0.3, 0.8], dtype=torch.float64),
}
ALIVE = {
    "a": torch.tensor([False, True, True, True]),
    "b": torch.tensor([True, True]),
}


@pytest.mark.parametrize(
    ("fraction", "chosen_a", "chosen_b"),
    [
        (0.0, [True, False, False, False], [False, False]),  # dead: whatever its score
        (0.4, [True, True, False, True], [False, False]),
        (0.6, [True, True, False, True], [True, False]),
        (1.0, [True, True, True, True], [True, True]),
    ],
)
def test_all_dead_kernels_and_a_fraction_of_the_others(fraction, chosen_a, chosen_b):
    masks = tgd.select(SCORES, fraction=fraction, alive=ALIVE)
    assert masks["a"].tolist() == chosen_a
    assert masks["b"].tolist() == chosen_b


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"phi": 0.3, "alive": ALIVE}, "alive: is for a fraction"),
        ({"fraction": 0.5, "alive": {"a": ALIVE["a"]}}, "alive: b is missing"),
        ({"fraction": 0.5, "alive": {**ALIVE, "b": torch.ones(3, dtype=bool)}}, "expected 2 bool"),
        ({"fraction": 0.5, "alive": {**ALIVE, "b": torch.ones(2)}}, "expected 2 booleans"),
        ({"fraction": 1.5, "alive": ALIVE}, "expected a share"),
    ],
)
def test_what_does_not_fit_is_refused(keys, said):
    with pytest.raises(ValueError, match=said):
        tgd.select(SCORES, **keys)


def test_a_layer_takes_the_fraction_of_the_living():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3))
    with torch.no_grad():
        net[0].weight[[2, 5]] = 0  # dead
    example = torch.zeros(1, 1, 16, 16)

    with tgd.TGD(net, fraction=0.5, fraction_of="alive", example_input=example) as layer:
        mask = layer.masks["0"]
        assert mask[[2, 5]].all()
        assert layer.counts()["kernels_retrained"] == 2 + 3
        assert layer.counts()["kernels_retrained_alive"] == 3

    with pytest.raises(ValueError, match="fraction_of"):
        tgd.TGD(net, fraction=0.5, fraction_of="dead", example_input=example)
    with pytest.raises(ValueError, match="'alive' needs a fraction, got phi"):
        tgd.TGD(net, phi=0.5, fraction_of="alive", example_input=example)
