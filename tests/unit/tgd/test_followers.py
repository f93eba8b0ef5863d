"""The norm layers that follow a convolution: each of their channels depends on its kernel and on
nothing else.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tgdpet.tgd import connectivity
from zoo import Net, c2, image

pytestmark = pytest.mark.usefixtures("one_thread")


def zeroed_later(m, x):
    y = m.a(x)
    z = m.norm(y)
    y.zero_()
    return m.b(z)


@pytest.mark.parametrize(
    ("forward", "channels", "expected"),
    [
        (lambda m, x: m.b(m.norm(m.a(x))), 4, {"a": ["norm"]}),
        (lambda m, x: m.b(m.norm(input=F.relu_(m.a(x)))), 4, {"a": ["norm"]}),
        (lambda m, x: m.b(m.norm(m.a(x)) + m.norm(m.a(x))), 4, {"a": ["norm"]}),
        (zeroed_later, 4, {"a": ["norm"]}),
        (lambda m, x: m.b(m.norm(m.a(x) + m.c(x))), 4, {}),  # two convolutions
        (lambda m, x: m.b(m.norm(m.a(x) + x)), 4, {}),  # and the input
        (lambda m, x: m.b(m.a(m.norm(x))), 1, {}),  # the input alone
        (lambda m, x: m.b(m.norm(m.a(x).flip(1))), 4, {}),  # another order
        (lambda m, x: m.b(m.norm(m.a(x).roll(1, 1) + m.a(x))), 4, {}),  # two kernels a channel
        (lambda m, x: m.b(m.norm(m.a(x)) + m.norm(m.a(x).flip(1))), 4, {}),  # in one call only
        (lambda m, x: m.b(m.norm(torch.cat([m.a(x), m.c(x)], 1))[:, :4]), 8, {}),
        (lambda m, x: m.b(m.norm(m.a(x)[:, :3])), 3, {}),
        (lambda m, x: m.b(m.norm(F.pad(m.a(x)[:, :3], (0, 0, 0, 0, 0, 1)))), 4, {}),
        (lambda m, x: m.b(m.norm(m.a(x).mean(1, keepdim=True))), 1, {}),
    ],
)  # fmt: skip
def test_followers_read_one_kernel_a_channel(forward, channels, expected):
    model = Net(
        forward, a=c2(1, 4), c=c2(1, 4), norm=nn.BatchNorm2d(channels), b=nn.LazyConv2d(2, 1)
    )
    example = image(2, 1, 6, 6)
    model.eval()(example)
    assert connectivity.following_norms(model, example) == expected


def test_every_norm_that_follows_is_named():
    model = Net(lambda m, x: m.b(m.second(F.relu(m.first(m.a(x))))), a=c2(1, 6), first=nn.GroupNorm(2, 6),
                second=nn.InstanceNorm2d(6, affine=True), b=c2(6, 2))  # fmt: skip
    assert connectivity.following_norms(model, image(1, 1, 6, 6)) == {"a": ["first", "second"]}


def test_a_norm_behind_kernels_that_are_silent_on_the_data_follows():
    model = nn.Sequential(nn.Conv2d(3, 64, 1), nn.ReLU(), nn.BatchNorm2d(64), nn.Conv2d(64, 2, 1))
    with torch.no_grad():
        model[0].bias.fill_(-100.0)
    assert connectivity.following_norms(model, image(1, 3, 1, 1)) == {
        "0": ["2"]
    }  # one pixel: some pass with one sign only


def test_a_way_that_only_the_data_take_counts():
    def forward(m, x):
        y = m.a(x)
        return m.b(m.norm(y.flip(1) if float(y.detach().min()) > 50 else y))

    model = Net(forward, a=c2(1, 4), norm=nn.BatchNorm2d(4), b=c2(4, 2))
    assert connectivity.following_norms(model, image(1, 1, 6, 6)) == {"a": ["norm"]}
    with torch.no_grad():
        model.a.bias.fill_(100.0)
    assert connectivity.following_norms(model, image(1, 1, 6, 6)) == {}


def test_the_norms_of_a_head_that_is_called_in_training_only():
    def forward(m, x):
        y = m.a(x)
        return (m.b(y), m.head(m.norm(m.side(y)))) if m.training else m.b(y)

    model = Net(
        forward, a=c2(1, 4), b=c2(4, 1), side=c2(4, 5), norm=nn.BatchNorm2d(5), head=c2(5, 1)
    )
    assert connectivity.following_norms(model, image(2, 1, 6, 6)) == {"side": ["norm"]}
