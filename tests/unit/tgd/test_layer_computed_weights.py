"""Convolutions whose weight is computed from other parameters."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from tgd_cases import bits
from tgdpet import tgd
from tgdpet.tgd.copies import copied

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated"),
]

HALF = torch.tensor([True, False, True, False])
ALL = torch.ones(4, dtype=torch.bool)


def image() -> torch.Tensor:
    return torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(0))


class LowRank(nn.Module):
    """A weight with a low-rank change (LoRA); the second factor is everybody's."""

    def __init__(self):
        super().__init__()
        self.left = nn.Parameter(torch.randn(4, 2))
        self.right = nn.Parameter(torch.randn(2, 18))

    def forward(self, weight):
        return weight + (self.left @ self.right).reshape(weight.shape)


class HiddenScale(nn.Module):
    """Divides by the size of the whole weight, unseen by autograd."""

    def forward(self, weight):
        return weight / weight.detach().std()


class Scaled(nn.Module):
    """A factor a kernel."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4, 1, 1, 1))

    def forward(self, weight):
        return weight * self.scale


class Softplus(nn.Module):
    def forward(self, weight):
        return nn.functional.softplus(weight)


class Rounded(nn.Module):
    """Quantisation without a gradient of its own."""

    def forward(self, weight):
        return torch.round(weight * 8) / 8


def lora(conv):
    return parametrize.register_parametrization(conv, "weight", LowRank())


def parametrized(module, name="weight"):
    return lambda conv: parametrize.register_parametrization(conv, name, module)


def pruned(conv):
    prune.random_unstructured(conv, "weight", 0.3)
    return prune.random_unstructured(conv, "bias", 0.25)


SUPPORTED = {
    "old weight norm": torch.nn.utils.weight_norm,
    "weight norm": parametrizations.weight_norm,
    "pruned": pruned,
    "pruned channels": lambda conv: prune.ln_structured(conv, "weight", 0.5, n=1, dim=0),
    "low rank": lora,
    "orthogonal": parametrizations.orthogonal,  # each kernel's 3 x 3 matrices
    "softplus": parametrized(Softplus()),
    "bias": parametrized(Softplus(), "bias"),
}
REFUSED = {
    "old spectral norm": (torch.nn.utils.spectral_norm, "SpectralNorm"),
    "spectral norm": (parametrizations.spectral_norm, "_SpectralNorm"),
    "hidden": (parametrized(HiddenScale()), "HiddenScale"),
    "rounded": (parametrized(Rounded()), "Rounded"),
}
CONVS = {
    "plain": lambda: nn.Conv2d(2, 4, 3, padding=1),
    "transposed": lambda: nn.ConvTranspose2d(2, 4, 3, padding=1),
    "grouped": lambda: nn.Conv2d(2, 4, 3, padding=1, groups=2),
}


def network(compute, kind="plain") -> nn.Module:
    torch.manual_seed(0)
    conv = compute(CONVS[kind]())
    return nn.Sequential(conv, nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3))


def kernels(conv: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """Each kernel's map, (out channels, values)."""
    with torch.no_grad():
        return copied(conv).eval()(image).transpose(0, 1).flatten(1)


def trained(model, masks, **options):
    before = bits(model)
    with tgd.TGD(model, masks, **options) as layer:
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            if not any(bool(mask.any()) for mask in masks.values()):
                model.train()(image())
                continue
            (model.train()(image()) ** 2).mean().backward()
            optimizer.step()
        assert layer.unchanged()
    now = bits(model)
    return {n for n in now if not torch.equal(now[n], before[n])}


@pytest.mark.parametrize("gather", ["auto", "always", "never"])
@pytest.mark.parametrize("name", SUPPORTED)
def test_a_useful_kernel_that_is_computed_keeps_its_map(name, gather):
    model = network(SUPPORTED[name])
    maps = kernels(model[0], image())
    moved = trained(model, {"0": HALF}, gather=gather, example_input=image())
    now = kernels(model[0], image())
    assert torch.equal(now[~HALF], maps[~HALF])
    assert bool((now != maps)[HALF].any())
    assert moved


@pytest.mark.parametrize("name", REFUSED)
def test_a_kernel_without_parameters_of_its_own_is_refused_by_name(name):
    compute, word = REFUSED[name]
    model = network(compute)
    before = bits(model)
    with pytest.raises(ValueError, match=rf"masks: 0: its weight is computed \({word}"):
        tgd.TGD(model, {"0": HALF})
    assert not any(m._forward_hooks for m in model.modules())
    now = bits(model)
    assert all(torch.equal(now[n], before[n]) for n in now)


@pytest.mark.parametrize("name", ["old spectral norm", "spectral norm"])
@pytest.mark.parametrize("mask", [ALL, ~ALL], ids=["all", "none"])
def test_all_of_its_kernels_or_none_may_be_masked(name, mask):
    model = network(REFUSED[name][0])
    moved = trained(model, {"0": mask}, example_input=image())
    assert bool(moved) == bool(mask.any())


def test_weight_norm_over_another_axis_is_told_by_what_it_reads():
    """Norms of a transposed convolution's first axis are of input channels: no kernel's own."""
    model = network(parametrizations.weight_norm, "transposed")
    with pytest.raises(ValueError, match="masks: 0"):
        tgd.TGD(model, {"0": HALF})

    model = network(lambda conv: parametrizations.weight_norm(conv, dim=1), "transposed")
    maps = kernels(model[0], image())
    assert trained(model, {"0": HALF})
    now = kernels(model[0], image())
    assert torch.equal(now[~HALF], maps[~HALF])
    assert bool((now != maps)[HALF].any())


def test_entries_of_weight_norm_are_the_rows_of_both_parameters():
    model = network(parametrizations.weight_norm, "grouped")
    before = {n: p.detach().clone() for n, p in model[0].named_parameters()}
    trained(model, {"0": HALF})
    for name, parameter in model[0].named_parameters():
        moved = (parameter != before[name]).reshape(4, -1).any(dim=1)
        assert torch.equal(moved, HALF), name


def test_the_shared_factor_of_a_low_rank_change_is_frozen():
    model = network(lora)
    assert not any("right" in name for name in trained(model, {"0": HALF}))
    assert any("right" in name for name in trained(model, {"0": ALL}))


def test_a_parametrization_that_two_convolutions_share_moves_where_both_allow():
    torch.manual_seed(0)
    change = Scaled()
    convs = [nn.Conv2d(4, 4, 3, padding=1) for _ in range(2)]
    for conv in convs:
        parametrize.register_parametrization(conv, "weight", change)
    model = nn.Sequential(nn.Conv2d(2, 4, 1), *convs, nn.Conv2d(4, 2, 1))
    scale = change.scale.detach().clone()
    trained(model, {"1": ALL})
    assert torch.equal(change.scale, scale)
    trained(model, {"1": ALL, "2": HALF})
    assert torch.equal((change.scale != scale).flatten(), HALF)


def test_scores_of_networks_that_hold_computed_tensors():
    model = nn.Sequential(
        torch.nn.utils.weight_norm(nn.Conv2d(2, 4, 3)),
        nn.ReLU(),
        torch.nn.utils.spectral_norm(nn.Conv2d(4, 4, 3)),
        nn.ReLU(),
        parametrizations.spectral_norm(nn.Conv2d(4, 4, 1)),
        nn.ReLU(),
        pruned(nn.Conv2d(4, 2, 3)),
    )
    model(image())
    before = bits(model)
    scores = tgd.score_kernels(model, image())
    assert {name: len(score) for name, score in scores.items()} == {
        "0": 4,
        "2": 4,
        "4": 4,
    }
    now = bits(model)
    assert all(torch.equal(now[n], before[n]) for n in now)


def test_a_module_that_cannot_be_copied_is_named():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    model[1].lock = __import__("threading").Lock()
    with pytest.raises(tgd.TraceError, match="module '1': cannot be copied"):
        tgd.score_kernels(model, image())


@pytest.mark.filterwarnings(
    "ignore:torch.ao.quantization is deprecated",
    "ignore:Please use quant_min",
    "ignore:torch.quantize_per",
)
def test_quantisation_aware_convolutions_and_stubs():
    quantization = pytest.importorskip("torch.ao.quantization")
    torch.manual_seed(0)
    model = nn.Sequential(
        quantization.QuantStub(),
        nn.Conv2d(2, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 2, 3),
        quantization.DeQuantStub(),
    )
    model.qconfig = quantization.get_default_qat_qconfig("fbgemm")
    quantization.prepare_qat(model.train(), inplace=True)
    for _ in range(2):
        model(image())
    moved = trained(model, {"1": HALF})
    assert moved == {"1.weight", "1.bias"}
    with pytest.raises(ValueError, match="is no convolution of the model, but"):
        tgd.TGD(quantization.convert(model.eval()), {"1": HALF})
