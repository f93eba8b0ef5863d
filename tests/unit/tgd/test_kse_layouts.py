"""KSE of every kind of convolution against loops over the kernels, and of weights on any device."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tgdpet.tgd import kse
from tgdpet.tgd.scoring import consumer_weight

LAYOUTS = {
    "Conv1d": lambda: nn.Conv1d(6, 8, 3),
    "Conv2d": lambda: nn.Conv2d(6, 8, 3),
    "Conv3d": lambda: nn.Conv3d(6, 8, (1, 2, 3)),
    "Conv2d, 3 groups": lambda: nn.Conv2d(6, 9, 3, groups=3),
    "depthwise": lambda: nn.Conv2d(6, 6, 3, groups=6),
    "depthwise, twice the channels": lambda: nn.Conv2d(6, 12, 3, groups=6),
    "depthwise, seven times the channels": lambda: nn.Conv1d(6, 42, 3, groups=6),
    "ConvTranspose1d": lambda: nn.ConvTranspose1d(6, 8, 3),
    "ConvTranspose2d": lambda: nn.ConvTranspose2d(6, 8, 2),
    "ConvTranspose3d": lambda: nn.ConvTranspose3d(6, 8, 2),
    "ConvTranspose2d, 2 groups": lambda: nn.ConvTranspose2d(6, 14, 2, groups=2),
    "ConvTranspose3d, depthwise": lambda: nn.ConvTranspose3d(6, 6, 2, groups=6),
}


def kernels_of_input(conv: nn.Module, c: int) -> list[Tensor]:
    """The kernels that read input channel c, by the definition of groups and of transposed
    weights.
    """
    weight, per_group = conv.weight.detach().double(), conv.in_channels // conv.groups
    group, outputs = c // per_group, conv.out_channels // conv.groups
    if conv.transposed:
        return [weight[c, n].flatten() for n in range(outputs)]
    return [weight[group * outputs + n, c % per_group].flatten() for n in range(outputs)]


def loop(conv: nn.Module, k: int = 5) -> list[float]:
    sparsity, entropy = [], []
    for c in range(conv.in_channels):
        kernels = kernels_of_input(conv, c)
        sparsity.append(sum(float(w.abs().sum()) for w in kernels))
        dm = []
        for i, a in enumerate(kernels):
            apart = sorted(float((a - b).norm()) for j, b in enumerate(kernels) if j != i)
            dm.append(sum(apart[:k]))
        entropy.append(
            -sum(d / sum(dm) * math.log2(d / sum(dm)) for d in dm) if len(kernels) > 1 else 0.0
        )
    s, e = scaled(sparsity, 1.0), scaled(entropy, 0.0)
    return scaled([math.sqrt(a / (1 + b)) for a, b in zip(s, e, strict=True)], 1.0)


def scaled(values: list[float], flat: float) -> list[float]:
    span = max(values) - min(values)
    return [(v - min(values)) / span if span > 1e-9 else flat for v in values]


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_against_loops(name):
    torch.manual_seed(3)
    conv = LAYOUTS[name]()
    weight = consumer_weight(conv)
    assert weight.shape[:2] == (conv.out_channels // conv.groups, conv.in_channels)
    assert kse.score(weight).tolist() == pytest.approx(loop(conv), abs=1e-6)


class _NoRoundTrip(TorchDispatchMode):
    """Refuses whatever moves a tensor, or a value of one beyond a yes or no, off its device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket is torch.ops.aten._local_scalar_dense and not isinstance(out, bool):
            raise AssertionError("a number was read from the device")
        if (
            func.overloadpacket is torch.ops.aten._to_copy
            and (kwargs or {}).get("device") is not None
        ):
            raise AssertionError("a tensor was moved")
        return out


def test_nothing_leaves_the_device(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a tensor left its device")

    for name in ("cpu", "numpy", "tolist", "item", "__array__"):
        monkeypatch.setattr(Tensor, name, refuse)
    with _NoRoundTrip():
        values = kse.score(torch.randn(12, 7, 3, 3))
    assert values.shape == (7,)


@pytest.mark.parametrize("compat", [None, "official"])
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_gpu_agrees(compat):
    weight = torch.randn(64, 48, 3, 3, generator=torch.Generator().manual_seed(0))
    values = kse.score(weight.cuda(), compat=compat)
    assert values.is_cuda and values.dtype == torch.float64
    torch.testing.assert_close(values.cpu(), kse.score(weight, compat=compat), atol=1e-6, rtol=0)


def test_no_float32_inside():
    weight = (
        torch.randn(32, 8, 3, 3, generator=torch.Generator().manual_seed(0)) + 100
    )  # distances of large numbers
    exact = kse.score(weight.double())
    assert torch.equal(kse.score(weight), exact)


def test_many_outputs_are_taken_in_parts(monkeypatch):
    weight = torch.randn(40, 9, 1, 1, generator=torch.Generator().manual_seed(0))
    whole = kse.components(weight)
    monkeypatch.setattr(kse, "DISTANCES_AT_ONCE", 3 * 40 * 40)
    for a, b in zip(kse.components(weight), whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0)
