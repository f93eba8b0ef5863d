"""The network is the paper's Fig. 1."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tgdpet.networks.dncnn import DnCNN

pytestmark = pytest.mark.usefixtures("one_thread")


def test_channels_and_weights_of_the_paper():
    net = DnCNN()
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convs] == [64, 64, 128, 128, 128, 256, 256, 3]
    assert all(m.kernel_size == (3, 3) for m in convs)
    assert sum(m.weight.numel() for m in convs) == pytest.approx(1.30e6, rel=0.01)


def test_order_within_the_blocks():
    kinds = [[type(m).__name__ for m in block] for block in DnCNN(0.125).blocks]
    assert kinds == [["Conv2d", "ReLU"], *[["Conv2d", "BatchNorm2d", "ReLU"]] * 6, ["Conv2d"]]


def test_residual_of_nothing_is_the_input():
    net = DnCNN(0.125).eval()
    nn.init.zeros_(net.blocks[-1].conv.weight)
    x = torch.randn(2, 3, 9, 11)
    assert torch.equal(net(x), x)


def test_start_depends_on_the_generator_alone():
    a, b, c = (DnCNN(0.125, torch.Generator().manual_seed(s)).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(a[n], b[n]) for n in a)
    assert not torch.equal(a["blocks.0.conv.weight"], c["blocks.0.conv.weight"])


def test_width_has_to_be_positive():
    with pytest.raises(ValueError, match="width"):
        DnCNN(0)
