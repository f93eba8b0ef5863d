"""A parameter with several owners moves only where all of them allow it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tgd_cases import bits
from tgdpet import tgd
from zoo import Net

pytestmark = pytest.mark.usefixtures("one_thread")

HALF = torch.tensor([True, False, True, False])
ALL = torch.ones(4, dtype=torch.bool)
NONE = torch.zeros(4, dtype=torch.bool)


def convolution(*size: int) -> nn.Conv2d:
    return nn.Conv2d(*size, 3, padding=1)


def image() -> torch.Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def tied() -> nn.Module:
    """The last convolution, which has no mask, shares the weight of one before it."""
    torch.manual_seed(0)
    net = Net(
        lambda m, x: m.tail(torch.relu(m.body(torch.relu(m.head(x))))),
        head=convolution(4, 4),
        body=convolution(4, 4),
        tail=convolution(4, 4),
    )
    net.tail.weight = net.body.weight
    return net


def sharing_memory() -> nn.Module:
    """The same with two parameters that lie in one place."""
    net = tied()
    net.tail.weight = nn.Parameter(net.body.weight.data)
    return net


def trained(net: nn.Module, masks: dict[str, torch.Tensor], **options) -> set[str]:
    """Train; the names of what has moved."""
    before = bits(net)
    with tgd.TGD(net, masks, **options) as layer:
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            (net(image()) ** 2).mean().backward()
            layer.step(optimizer)
        assert layer.unchanged()
    now = bits(net)
    return {n for n in now if not torch.equal(now[n], before[n])}


@pytest.mark.parametrize("gather", ["auto", "always", "never"])
@pytest.mark.parametrize("flow", ["parameter", "layer"])
@pytest.mark.parametrize("build", [tied, sharing_memory])
@pytest.mark.parametrize("second", [{}, {"tail": NONE}], ids=["no mask", "mask of nothing"])
def test_an_owner_without_a_mask_counts_as_frozen(build, second, flow, gather):
    masks = {"head": HALF, "body": ALL, **second}
    moved = trained(build(), masks, flow=flow, gather=gather)
    if flow == "layer" and second:
        assert moved == {"body.bias"} - moved or moved <= {"body.bias", "head.weight", "head.bias"}
    else:
        assert moved == {"head.weight", "head.bias", "body.bias"}


@pytest.mark.parametrize("gather", ["auto", "always", "never"])
def test_owners_with_masks_move_what_they_have_in_common(gather):
    net = tied()
    before = net.body.weight.detach().clone()
    trained(net, {"body": HALF, "tail": torch.tensor([True, True, False, False])}, gather=gather)
    moved = (net.body.weight != before).flatten(1).any(dim=1)
    assert moved.tolist() == [True, False, False, False]


def test_a_gamma_that_two_norms_share_moves_where_both_allow_it():
    torch.manual_seed(0)
    net = Net(
        lambda m, x: m.out(torch.relu(m.two(m.b(torch.relu(m.one(m.a(x))))))),
        a=convolution(4, 4),
        one=nn.BatchNorm2d(4),
        b=convolution(4, 4),
        two=nn.BatchNorm2d(4),
        out=convolution(4, 2),
    )
    net.two.weight = net.one.weight
    assert trained(net, {"a": ALL}, example_input=image()) == {"a.weight", "a.bias", "one.bias"}


def test_a_parameter_that_a_module_of_another_kind_owns_too_is_frozen():
    class Reader(nn.Module):
        def __init__(self, weight):
            super().__init__()
            self.weight = weight

        def forward(self, x):
            return x * self.weight.mean()

    torch.manual_seed(0)
    body = convolution(4, 4)
    net = nn.Sequential(body, Reader(body.weight), convolution(4, 2))
    assert trained(net, {"0": ALL}) == {"0.bias"}


def test_a_parameter_that_lies_in_a_buffer_is_frozen():
    torch.manual_seed(0)
    net = nn.Sequential(convolution(4, 4), convolution(4, 2))
    net.register_buffer("template", net[0].weight.data)
    assert trained(net, {"0": ALL}) == {"0.bias"}


def test_parameters_that_overlap_in_part_are_refused_by_name():
    net = nn.Sequential(convolution(4, 4), convolution(4, 4), convolution(4, 2))
    flat = torch.randn(4 * 4 * 9 + 36)
    net[0].weight.data = flat[:144].view(4, 4, 3, 3)
    net[1].weight.data = flat[36:].view(4, 4, 3, 3)
    with pytest.raises(ValueError, match=r"'0\.weight' and '1\.weight'"):
        tgd.TGD(net, {"0": ALL})


def test_parts_of_one_storage_that_do_not_overlap_are_parameters_of_their_own():
    net = nn.Sequential(convolution(4, 4), convolution(4, 4), convolution(4, 2))
    flat = torch.randn(2 * 4 * 4 * 9)
    net[0].weight.data = flat[:144].view(4, 4, 3, 3)
    net[1].weight.data = flat[144:].view(4, 4, 3, 3)
    assert trained(net, {"0": ALL}) == {"0.weight", "0.bias"}


def test_a_module_under_two_names_is_one_module():
    net = tied()
    net.alias = net.body
    net.tail.weight = nn.Parameter(net.tail.weight.detach().clone())
    assert trained(net, {"body": ALL}) == {
        "body.weight",
        "body.bias",
        "alias.weight",
        "alias.bias",
    }
    with pytest.raises(ValueError, match="'body' under another name"):
        tgd.TGD(net, {"alias": ALL})
