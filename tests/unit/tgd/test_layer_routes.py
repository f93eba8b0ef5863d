"""Which convolutions get a backward pass of their own, and what it leaves of the model around
it.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tgd_cases import image, random_masks, small
from tgdpet import tgd
from tgdpet.tgd import sparse_backward

pytestmark = pytest.mark.usefixtures("one_thread")


def test_auto_gathers_where_it_saves_enough():
    wide = nn.Conv2d(64, 64, 3)
    half = torch.arange(64) % 2 == 0
    few = torch.arange(64) >= 1
    all_ = torch.ones(64, dtype=torch.bool)
    for conv, mask, expected in (
        (wide, half, True),
        (wide, few, False),
        (nn.Conv2d(3, 64, 1), half, False),
    ):
        found = sparse_backward.route(conv, mask, layer=False, gather="auto")
        assert (found is not None) == expected
        if found is not None:
            found.remove()
    found = sparse_backward.route(nn.Conv2d(3, 64, 1), half, layer=True, gather="auto")
    assert found is not None  # cheaper than a masking hook
    found.remove()
    assert sparse_backward.route(wide, all_, layer=True, gather="always") is None
    assert sparse_backward.route(wide, half, layer=True, gather="never") is None


def test_where_nothing_is_left_out_the_plain_convolution_runs():
    conv, x = nn.Conv2d(3, 4, 3), image().requires_grad_()
    with tgd.TGD(nn.Sequential(conv), {"0": torch.zeros(4, dtype=torch.bool)}, gather="always"):
        assert type(conv(x).grad_fn).__name__ == "ConvolutionBackward0"


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_taking_channels_keeps_the_memory_format(memory):
    values, rows = torch.randn(2, 6, 4, 5).contiguous(memory_format=memory), torch.tensor([0, 3, 4])
    found = sparse_backward.take_channels(values, rows)
    assert torch.equal(found, values[:, rows])
    assert found.is_contiguous(memory_format=memory)


class Doubled(nn.Conv2d):
    """A convolution with an inner forward of its own."""

    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, 2 * weight, bias)


class Standardised(nn.Conv2d):
    """A convolution with a forward pass of its own (weight standardisation)."""

    def forward(self, x):
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        return self._conv_forward(x, weight, self.bias)


def patched(*size):
    """A convolution on which somebody else replaced the forward pass."""
    conv = nn.Conv2d(*size)
    conv.forward = lambda x: nn.Conv2d.forward(conv, x) * 3
    return conv


@pytest.mark.parametrize("kind", [Standardised, Doubled, patched])
def test_a_convolution_with_its_own_forward_keeps_the_plain_backward(kind):
    net = nn.Sequential(kind(4, 6, 3), nn.ReLU(), nn.Conv2d(6, 3, 3))
    masks = {"0": torch.arange(6) % 2 == 0}
    with tgd.TGD(net, masks, gather="always") as layer:
        assert not layer._attachment.routes
        (net(torch.randn(2, 4, 8, 8)) ** 2).mean().backward()
        assert bool((net[0].weight.grad[~masks["0"]] == 0).all())


def test_hooks_of_others_are_called():
    net, x = small(), image()
    seen = []
    with tgd.TGD(net, random_masks(net), gather="always", example_input=x):
        handle = net.blocks[2].conv.register_forward_hook(
            lambda m, args, out: seen.append(out.shape)
        )
        net(x)
    handle.remove()
    assert seen == [(4, 16, 16, 16)]
    assert not any("_conv_forward" in vars(m) for m in net.modules())


def test_gradient_of_the_gradient():
    conv = nn.Conv2d(3, 4, 3).double()
    mask = torch.tensor([True, False, True, False])
    found = {}
    for gather in ("never", "always"):
        with tgd.TGD(nn.Sequential(conv), {"0": mask}, gather=gather):
            x = image(2, torch.float64).requires_grad_()
            first = torch.autograd.grad((conv(x) ** 3).sum(), x, create_graph=True)[0]
            found[gather] = torch.autograd.grad((first**2).sum(), conv.weight)[0][mask]
    torch.testing.assert_close(found["always"], found["never"])
