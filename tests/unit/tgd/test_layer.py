"""TGD: what may move moves, everything else keeps its bits."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tgd_cases import bits, masks_of, small, train
from tgdpet import tgd
from tgdpet.tgd.layer import BATCHNORM_MODES, FLOWS

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def model():
    return small()


def test_gradients_of_useful_kernels_are_zero_even_for_nan(model):
    masks = masks_of(model)
    with tgd.TGD(model, masks) as layer:
        layer.train_mode()
        (model(torch.randn(2, 3, 16, 16)).mean() * torch.nan).backward()
        for name, mask in masks.items():
            gradient = model.get_submodule(name).weight.grad
            assert bool((gradient[~mask] == 0).all())
            assert bool(gradient[mask].isnan().any())


def test_detaching_leaves_no_trace(model):
    before = [set(vars(m)) for m in model.modules()]
    for batchnorm in BATCHNORM_MODES:
        with tgd.TGD(model, masks_of(model), flow="layer", batchnorm=batchnorm, gather="always"):
            model(torch.randn(2, 3, 16, 16))
    assert all(p.requires_grad and not p._backward_hooks for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert [set(vars(m)) for m in model.modules()] == before


@pytest.mark.parametrize("batchnorm", BATCHNORM_MODES)
def test_running_statistics_move_as_asked(model, batchnorm):
    masks = masks_of(model)
    before = {n: t.clone() for n, t in model.state_dict().items() if "running" in n}
    with tgd.TGD(model, masks, batchnorm=batchnorm) as layer:
        train(model, layer, torch.optim.Adam(list(layer.parameters()), lr=0.01))
        assert layer.unchanged()
    for name, old in before.items():
        moved = model.state_dict()[name] != old
        mask = masks[name.rpartition(".bn")[0] + ".conv"]
        expected = {
            "eval": torch.zeros_like(mask),
            "per_channel": mask,
            "train": torch.ones_like(mask),
        }[batchnorm]
        assert torch.equal(moved, expected), name


def test_layer_flow_cuts_the_gradient_of_earlier_layers(model):
    masks = {n: torch.zeros_like(m) for n, m in masks_of(model).items()}
    masks["blocks.0.conv"] = torch.ones_like(masks["blocks.0.conv"])
    x = torch.randn(2, 3, 16, 16)
    gradients = {}
    for flow in FLOWS:
        model.zero_grad()
        with tgd.TGD(model, masks, flow=flow) as layer:
            layer.train_mode()
            (model(x) ** 2).mean().backward()
            gradients[flow] = model.blocks[0].conv.weight.grad.clone()
    assert float(gradients["parameter"].abs().max()) > 0
    assert float(gradients["layer"].abs().max()) == 0  # every later layer stops it


@pytest.mark.parametrize(
    ("masks", "options", "word"),
    [
        ({"nowhere": torch.ones(8, dtype=torch.bool)}, {}, "nowhere"),
        ({"blocks.0.conv": torch.ones(9, dtype=torch.bool)}, {}, "blocks.0.conv"),
        ({"blocks.0.conv": torch.ones(8)}, {}, "booleans"),
        ({}, {"flow": "lyer"}, "flow"),
        ({}, {"batchnorm": "evil"}, "batchnorm"),
        ({}, {"gather": "alway"}, "gather"),
    ],
)
def test_errors_name_what_is_wrong(model, masks, options, word):
    with pytest.raises(ValueError, match=word):
        tgd.TGD(model, masks, **options)


class Apart(nn.Module):
    """Norm layers registered apart from their convolutions, one of them transposed."""

    def __init__(self):
        super().__init__()
        self.a, self.b = (
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ConvTranspose2d(8, 8, 2, stride=2, groups=2),
        )
        self.c = nn.Conv2d(8, 3, 3, padding=1)
        self.norm_a, self.norm_b = nn.BatchNorm2d(8), nn.BatchNorm2d(8)

    def forward(self, x):
        return self.c(torch.relu(self.norm_b(self.b(torch.relu(self.norm_a(self.a(x)))))))


def test_the_norm_that_follows_moves_with_its_kernels():
    net, x = Apart(), torch.randn(2, 3, 8, 8)
    masks = tgd.select(tgd.score_kernels(net, x), fraction=0.5)
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    with tgd.TGD(net, masks) as layer:
        optimizer = torch.optim.Adam(list(layer.parameters()), lr=0.01)
        (net(x) ** 2).mean().backward()
        layer.step(optimizer)
    for conv, norm in (("a", "norm_a"), ("b", "norm_b")):
        assert torch.equal(net.get_submodule(norm).weight != before[f"{norm}.weight"], masks[conv])
        assert torch.equal(net.get_submodule(conv).bias != before[f"{conv}.bias"], masks[conv])
    moved = (net.b.weight != before["b.weight"]).reshape(2, 4, 4, -1).any(dim=(1, 3)).flatten()
    assert torch.equal(moved, masks["b"])


def test_statistics_stay_though_a_loop_asks_for_train_mode(model):
    x = torch.randn(2, 3, 16, 16)
    expected, masks = model.eval()(x), masks_of(model)
    with tgd.TGD(model, masks):
        model.train()
        assert torch.equal(model(x), expected)


def test_what_no_optimizer_of_torch_has_moved_is_noticed(model):
    layer = tgd.TGD(model, masks_of(model))
    optimizer = torch.optim.AdamW(list(layer.parameters()), lr=0.1, weight_decay=0.5)
    (model(torch.randn(2, 3, 16, 16)) ** 2).mean().backward()
    optimizer.step()
    assert layer.unchanged()
    with torch.no_grad():
        model.blocks[7].conv.weight += 1
    assert not layer.unchanged()
    with pytest.raises(RuntimeError, match=r"TGD.restore\(\)"):
        layer.detach()


def test_statistics_that_something_else_moved_are_put_back(model):
    before = bits(model)
    with tgd.TGD(model, masks_of(model)) as layer:
        optimizer = torch.optim.Adam(list(layer.parameters()), lr=0.01)
        (model(torch.randn(2, 3, 16, 16)) ** 2).mean().backward()
        model.blocks[2].bn.running_mean += 1
        assert not layer.unchanged()
        layer.step(optimizer)
    assert torch.equal(bits(model)["blocks.2.bn.running_mean"], before["blocks.2.bn.running_mean"])


def test_shared_weights_move_only_where_every_user_allows_it():
    net = nn.Sequential(*[nn.Conv2d(3, 3, 3, padding=1) for _ in range(3)])
    net[1].weight = net[0].weight
    masks = {"0": torch.tensor([True, True, False]), "1": torch.tensor([False, True, True])}
    before = net[0].weight.detach().clone()
    with tgd.TGD(net, masks) as layer:
        optimizer = torch.optim.SGD(list(layer.parameters()), lr=0.1)
        (net(torch.randn(1, 3, 8, 8)) ** 2).mean().backward()
        layer.step(optimizer)
    moved = (net[0].weight != before).flatten(1).any(dim=1)
    assert moved.tolist() == [False, True, False]
