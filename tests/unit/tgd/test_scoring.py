"""Which kernels feed which convolution, their scores, and the choice of the redundant ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tgdpet import tgd
from tgdpet.networks.dncnn import DnCNN
from tgdpet.tgd import connectivity, kse
from zoo import Net, c2, image

pytestmark = pytest.mark.usefixtures("one_thread")


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


def test_components_are_those_of_the_reader_that_needs_the_kernel_most():
    def forward(m, x):
        y = torch.relu(m.first(x))
        return m.left(y[:, :5]), m.right(y[:, :4]), m.twice(torch.cat([y, y.flip(1)], 1)[:, 1:9])

    torch.manual_seed(4)
    net = Net(forward, first=c2(1, 6), left=c2(5, 7), right=c2(4, 6), twice=c2(8, 5))
    # the kernel of each channel
    readers = {
        "left": range(5),
        "right": range(4),
        "twice": [1, 2, 3, 4, 5, 5, 4, 3],
    }
    for k, alpha in [(5, 1.0), (2, 0.3)]:
        parts = {n: kse.components(net.get_submodule(n).weight, k=k, alpha=alpha) for n in readers}
        found = tgd.score_components(net, image(1, 1, 6, 6), k=k, alpha=alpha)["first"]
        for kernel in range(6):
            seen = [
                tuple(float(c[at]) for c in parts[n])
                for n, kernels in readers.items()
                for at, own in enumerate(kernels)
                if own == kernel
            ]
            expected = max(seen, key=lambda t: t[2])
            assert [float(c[kernel]) for c in found] == pytest.approx(expected, rel=1e-12), kernel


def test_a_kernel_that_nothing_reads_has_no_components_and_is_kept():
    net = Net(lambda m, x: m.reader(m.first(x)[:, 1:]), first=c2(1, 6), reader=c2(5, 4))
    sparsity, entropy, value = tgd.score_components(net, torch.zeros(1, 1, 6, 6))["first"]
    assert sparsity.isnan().tolist() == entropy.isnan().tolist() == [True] + [False] * 5
    assert float(value[0]) == 1
    torch.testing.assert_close(value[1:], kse.score(net.reader.weight))


def test_scores_come_in_the_order_of_the_modules():
    net = Net(lambda m, x: m.b(m.a(m.c(x))), a=c2(2, 3), b=c2(3, 1), c=c2(1, 2))
    assert list(tgd.score_kernels(net, torch.zeros(1, 1, 6, 6))) == ["a", "c"]


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
    link = next(
        x
        for x in connectivity.links(model, torch.zeros(1, 3, 16, 16))
        if x.producer == "blocks.1.conv"
    )
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
    # 2.5 kernels are 2
    assert [int(m.sum()) for m in tgd.select(scores, fraction=0.5).values()] == [
        1,
        1,
    ]
    # 3.5 are 4: to the even one
    assert tgd.select(scores, fraction=0.7)["a"].tolist() == [
        True,
        True,
        True,
    ]
    assert [int(m.sum()) for m in tgd.select(scores, fraction=0.3).values()] == [1, 1]  # 1.5 are 2
    assert all(m.all() for m in tgd.select(scores, fraction=1.0).values())
    assert not any(m.any() for m in tgd.select(scores, fraction=0.0).values())
    assert tgd.select({}, fraction=0.5) == {} == tgd.select({})


def test_of_equal_scores_the_first_are_chosen():
    scores = {"a": torch.full((300,), 0.5), "b": torch.full((300,), 0.5)}
    chosen = tgd.select(scores, fraction=0.25)
    assert chosen["a"].tolist() == [True] * 150 + [False] * 150 and not chosen["b"].any()


@pytest.mark.parametrize("phi", [-0.1, float("nan")])
def test_a_threshold_is_a_number_from_0(phi):
    with pytest.raises(ValueError, match=r"phi: expected a number >= 0"):
        tgd.select({"a": torch.zeros(2)}, phi)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_fraction_is_a_share(fraction):
    with pytest.raises(ValueError, match=r"fraction: expected a share in \[0, 1\]"):
        tgd.select({"a": torch.zeros(2)}, fraction=fraction)
