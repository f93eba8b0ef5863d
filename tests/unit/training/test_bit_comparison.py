"""Two networks compared number by number: what was open, what moved, what kept its bits."""

from __future__ import annotations

import copy

import pytest
import torch

from tgdpet.training.bit_comparison import compare
from training_cases import network

pytestmark = pytest.mark.usefixtures("one_thread")
MASK = {"blocks.1.conv": [0, 2], "blocks.7.conv": [1]}


def test_a_copy_is_the_same_in_every_bit() -> None:
    model = network()
    n_parameters = sum(p.numel() for p in model.parameters())
    comparison = compare(model, copy.deepcopy(model), {})

    assert (comparison.kept, comparison.kept_same) == (n_parameters, n_parameters)
    assert comparison.opened == comparison.opened_changed == 0
    assert comparison.statistics == comparison.statistics_same > 0
    assert comparison.holds


def test_what_is_open_may_move_with_its_normalisation() -> None:
    before = network()
    after = copy.deepcopy(before)
    with torch.no_grad():
        after.blocks[1].conv.weight[2] += 1
        after.blocks[1].bn.bias[2] += 1
        after.blocks[7].conv.bias[1] += 1

    comparison = compare(before, after, MASK)
    conv = before.blocks[1].conv.weight[0].numel()
    last = before.blocks[7].conv.weight[0].numel()
    assert comparison.opened == 2 * (conv + 2) + last + 1
    assert comparison.opened_changed == conv + 2
    assert comparison.holds

    layers = {layer.module: layer for layer in comparison.layers}
    assert (layers["blocks.1.conv"].opened, layers["blocks.1.conv"].moved) == (2, 1)
    assert layers["blocks.3.conv"].moved == 0


def test_a_single_bit_elsewhere_is_found() -> None:
    before = network()
    after = copy.deepcopy(before)
    with torch.no_grad():
        after.blocks[4].conv.weight.view(torch.int32)[0, 0, 0, 0] ^= 1

    comparison = compare(before, after, MASK)
    assert comparison.kept - comparison.kept_same == 1
    assert not comparison.holds


def test_the_sign_of_zero_is_a_bit() -> None:
    before = network()
    after = copy.deepcopy(before)
    with torch.no_grad():
        before.blocks[2].bn.bias[0] = 0.0
        after.blocks[2].bn.bias[0] = -0.0

    assert not compare(before, after, MASK).holds


def test_running_statistics_are_counted_by_themselves() -> None:
    before = network()
    after = copy.deepcopy(before)
    after.blocks[2].bn.running_mean[1] += 1

    comparison = compare(before, after, MASK)
    assert comparison.statistics - comparison.statistics_same == 1
