"""Which kernels feed which convolution, their scores, and the choice of the redundant ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tgdpet import kse, probe, tgd
from tgdpet.dncnn import DnCNN


@pytest.fixture
def model() -> DnCNN:
    return DnCNN(0.125, torch.Generator().manual_seed(1))


def test_scores_are_those_of_the_reader(model):
    scores = tgd.score_kernels(model, torch.zeros(1, 3, 16, 16))
    convs = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    names = list(convs)
    assert list(scores) == names[:-1]  # nobody reads the last
    for producer, reader in zip(names[:-1], names[1:], strict=True):
        torch.testing.assert_close(scores[producer], kse.score(convs[reader].weight))


def test_several_readers_count_by_the_largest():
    class Fork(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(1, 6, 3, padding=1)
            self.left, self.right = nn.Conv2d(6, 5, 3, padding=1), nn.Conv2d(6, 4, 3, padding=1)

        def forward(self, x):
            x = torch.relu(self.first(x))
            return torch.cat([self.left(x), self.right(x)], 1)

    net = Fork()
    expected = torch.maximum(kse.score(net.left.weight), kse.score(net.right.weight))
    torch.testing.assert_close(tgd.score_kernels(net, torch.zeros(1, 1, 8, 8))["first"], expected)


def test_concatenated_channels_find_their_reader():
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
            self.c = nn.Conv2d(7, 2, 3, padding=1)

        def forward(self, x):
            a = torch.relu(self.a(x))
            return self.c(torch.cat([torch.relu(self.b(a)), a], 1))

    net = Skip()
    scores = tgd.score_kernels(net, torch.zeros(1, 1, 8, 8))
    whole = kse.score(net.c.weight)
    torch.testing.assert_close(scores["b"], whole[:4])
    torch.testing.assert_close(scores["a"], torch.maximum(whole[4:], kse.score(net.b.weight)))


def test_a_dead_channel_is_still_seen_as_read(model):
    with torch.no_grad():
        model.blocks[1].bn.weight[3] = 0
        model.blocks[1].bn.bias[3] = -1
    link = next(x for x in probe.links(model, torch.zeros(1, 3, 16, 16)) if x.producer == "blocks.1.conv")
    assert bool(link.reach[3, 3])


def test_untraceable_networks_are_named():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)

        def forward(self, x):
            return nn.functional.conv2d(x, self.conv.weight)

    with pytest.raises(ValueError, match="Hidden|conv"):
        tgd.score_kernels(Hidden(), torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match="no convolution"):
        tgd.score_kernels(nn.Linear(2, 2), torch.zeros(1, 2))


def test_select_is_strict_and_takes_fractions():
    scores = {"a": torch.tensor([0.0, 0.3, 0.5]), "b": torch.tensor([0.2, 1.0])}
    assert tgd.select(scores, 0.3)["a"].tolist() == [True, False, False]
    assert not any(m.any() for m in tgd.select(scores, 0.0).values())
    chosen = tgd.select(scores, fraction=0.4)
    assert chosen["a"].tolist() == [True, False, False] and chosen["b"].tolist() == [True, False]
