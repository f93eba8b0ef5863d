"""TGD: what may move moves, everything else keeps its bits."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tgdpet import probe, tgd
from tgdpet.dncnn import DnCNN


@pytest.fixture
def model() -> DnCNN:
    net = DnCNN(0.125, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    for module in net.modules():  # statistics that are not the ones of a fresh layer
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, generator=generator)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
    return net


def bits(net: nn.Module) -> dict[str, torch.Tensor]:
    return {n: t.detach().clone().reshape(-1).view(torch.uint8) for n, t in net.state_dict().items()}


def masks_of(net: nn.Module, phi: float = 0.5) -> dict[str, torch.Tensor]:
    return tgd.select(tgd.score_kernels(net, torch.zeros(1, 3, 8, 8)), phi)


def train(net, layer, optimizer, steps=3, bad=False):
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        layer.train_mode()
        x = torch.randn(4, 3, 16, 16, generator=generator)
        loss = (net(x) ** 2).mean() * (torch.nan if bad else 1.0)
        optimizer.zero_grad()
        loss.backward()
        layer.step(optimizer)


def frozen_bits_kept(net, before, masks):
    norms = {c: n[0] for c, n in probe.followers(net, torch.zeros(1, 3, 16, 16)).items()}
    free = {}
    for name, mask in masks.items():
        for owner in (name, norms.get(name)):
            free |= {f"{owner}.{key}": mask for key in ("weight", "bias")}
    for name, tensor in net.state_dict().items():
        old = before[name].reshape(-1)
        new = tensor.detach().reshape(-1).contiguous().view(torch.uint8)
        same = (old == new).reshape(tensor.shape[0] if tensor.ndim else 1, -1).all(dim=1)
        if name in free:
            same = same | free[name]
        if not bool(same.all()):
            return False
    return True


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum and decay": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adam with l2": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "foreach": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, foreach=True),
    "fused": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, fused=True),
}


@pytest.mark.parametrize("flow", tgd.FLOWS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_useful_kernels_keep_their_bits_and_targeted_ones_move(model, name, flow):
    before, masks = bits(model), masks_of(model)
    with tgd.TGD(model, masks, flow=flow) as layer:
        train(model, layer, OPTIMIZERS[name](list(layer.parameters())))
        assert layer.unchanged()
    assert frozen_bits_kept(model, before, masks)
    moved = (model.blocks[3].conv.weight.detach().reshape(-1).view(torch.uint8) != before["blocks.3.conv.weight"]).any()
    assert bool(moved)


def test_stale_momentum_of_an_earlier_optimizer_moves_nothing(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    (model(torch.randn(4, 3, 16, 16)) ** 2).mean().backward()
    optimizer.step()
    before, masks = bits(model), masks_of(model)
    with tgd.TGD(model, masks) as layer:
        train(model, layer, optimizer)
    assert frozen_bits_kept(model, before, masks)


def test_a_batch_of_nan_moves_no_useful_kernel(model):
    before, masks = bits(model), masks_of(model)
    with tgd.TGD(model, masks) as layer:
        train(model, layer, torch.optim.Adam(list(layer.parameters()), lr=0.01), bad=True)
    assert frozen_bits_kept(model, before, masks)


def test_gradients_of_useful_kernels_are_zero_even_for_nan(model):
    masks = masks_of(model)
    with tgd.TGD(model, masks) as layer:
        layer.train_mode()
        (model(torch.randn(2, 3, 16, 16)).mean() * torch.nan).backward()
        for name, mask in masks.items():
            gradient = model.get_submodule(name).weight.grad
            assert bool((gradient[~mask] == 0).all())
            assert bool(gradient[mask].isnan().any())


def test_phi_zero_changes_nothing_at_all(model):
    before = bits(model)
    with tgd.TGD(model, masks_of(model, 0.0)) as layer:
        assert list(layer.parameters()) == []
        layer.train_mode()
        model(torch.randn(4, 3, 16, 16))
    after = bits(model)
    assert all(torch.equal(before[n], after[n]) for n in before)


def test_phi_above_one_moves_all_but_the_last(model):
    before, masks = bits(model), masks_of(model, 1.1)
    with tgd.TGD(model, masks) as layer:
        train(model, layer, torch.optim.Adam(list(layer.parameters()), lr=0.01))
    after = bits(model)
    assert torch.equal(after["blocks.7.conv.weight"], before["blocks.7.conv.weight"])
    assert not torch.equal(after["blocks.0.conv.weight"], before["blocks.0.conv.weight"])


def test_forward_is_bitwise_the_same(model):
    x = torch.randn(2, 3, 16, 16)
    model.eval()
    plain = model(x)
    for flow in tgd.FLOWS:
        with tgd.TGD(model, masks_of(model), flow=flow):
            assert torch.equal(model(x), plain)


def test_detaching_leaves_no_trace(model):
    for batchnorm in tgd.BATCHNORMS:
        with tgd.TGD(model, masks_of(model), flow="layer", batchnorm=batchnorm):
            pass
    assert all(p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks or "forward" in m.__dict__ for m in model.modules())


@pytest.mark.parametrize("batchnorm", tgd.BATCHNORMS)
def test_running_statistics_move_as_asked(model, batchnorm):
    masks = masks_of(model)
    before = {n: t.clone() for n, t in model.state_dict().items() if "running" in n}
    with tgd.TGD(model, masks, batchnorm=batchnorm) as layer:
        train(model, layer, torch.optim.Adam(list(layer.parameters()), lr=0.01))
        assert layer.unchanged()
    for name, old in before.items():
        moved = model.state_dict()[name] != old
        mask = masks[name.rpartition(".bn")[0] + ".conv"]
        expected = {"eval": torch.zeros_like(mask), "per_channel": mask, "train": torch.ones_like(mask)}[batchnorm]
        assert torch.equal(moved, expected), name


def test_layer_flow_cuts_the_gradient_of_earlier_layers(model):
    masks = {n: torch.zeros_like(m) for n, m in masks_of(model).items()}
    masks["blocks.0.conv"] = torch.ones_like(masks["blocks.0.conv"])
    x = torch.randn(2, 3, 16, 16)
    gradients = {}
    for flow in tgd.FLOWS:
        model.zero_grad()
        with tgd.TGD(model, masks, flow=flow) as layer:
            layer.train_mode()
            (model(x) ** 2).mean().backward()
            gradients[flow] = model.blocks[0].conv.weight.grad.clone()
    assert float(gradients["parameter"].abs().max()) > 0
    assert float(gradients["layer"].abs().max()) == 0  # every later layer stops it


def test_a_second_round_scores_the_adapted_network(model):
    first = masks_of(model)
    with tgd.TGD(model, first) as layer:
        train(model, layer, torch.optim.Adam(list(layer.parameters()), lr=0.05), steps=5)
    middle, second = bits(model), masks_of(model)
    assert any(not torch.equal(first[n], second[n]) for n in first)
    with tgd.TGD(model, second) as layer:
        train(model, layer, torch.optim.Adam(list(layer.parameters()), lr=0.05))
    assert frozen_bits_kept(model, middle, second)


@pytest.mark.parametrize(
    ("masks", "options", "word"),
    [
        ({"nowhere": torch.ones(8, dtype=torch.bool)}, {}, "nowhere"),
        ({"blocks.0.conv": torch.ones(9, dtype=torch.bool)}, {}, "blocks.0.conv"),
        ({"blocks.0.conv": torch.ones(8)}, {}, "booleans"),
        ({}, {"flow": "lyer"}, "flow"),
        ({}, {"batchnorm": "evil"}, "batchnorm"),
    ],
)
def test_errors_name_what_is_wrong(model, masks, options, word):
    with pytest.raises(ValueError, match=word):
        tgd.TGD(model, masks, **options)


class Apart(nn.Module):
    """Norm layers registered apart from their convolutions, one of them transposed."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.ConvTranspose2d(8, 8, 2, stride=2, groups=2)
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


def test_an_optimizer_that_steps_by_itself_is_noticed(model):
    layer = tgd.TGD(model, masks_of(model))
    optimizer = torch.optim.AdamW(list(layer.parameters()), lr=0.1, weight_decay=0.5)
    (model(torch.randn(2, 3, 16, 16)) ** 2).mean().backward()
    optimizer.step()
    assert not layer.unchanged()
    with pytest.raises(RuntimeError, match="step"):
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
