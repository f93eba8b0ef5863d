"""Backward passes that leave out frozen channels: the plain forward, the masked reference's
gradients.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tgd_cases import NETS, image, network, random_masks, small
from tgdpet import tgd
from tgdpet.tgd import connectivity, layer_kinds, sparse_backward
from tgdpet.tgd.layer import FLOWS

pytestmark = pytest.mark.usefixtures("one_thread")

LAST = torch.channels_last


def loss_of(net, x):
    out = net(x)
    return (out * image(len(out), out.dtype, seed=9, size=out.shape[-1])).mean() + (out**2).mean()


def reference(net, masks, flow, x):
    """Gradients of a plain backward (with a masking hook after each convolution and BN for
    "layer"), then masked.
    """
    net = copy.deepcopy(net).train()
    norms = connectivity.following_norms(net, x[:1])
    masked = {m: mask for c, mask in masks.items() for m in (c, *norms.get(c, []))}

    def stop(mask):
        shape = (1, -1, 1, 1)
        return lambda module, args, out: (
            out.register_hook(lambda g: g.masked_fill(~mask.reshape(shape), 0)) and None
        )

    for name, module in net.named_modules():
        if isinstance(module, layer_kinds.BATCHNORM_LAYERS):
            module.eval()
        if (
            flow == "layer"
            and name in masked
            and isinstance(module, (*layer_kinds.CONVS, *layer_kinds.BATCHNORM_LAYERS))
        ):
            module.register_forward_hook(stop(masked[name]))
    loss_of(net, x).backward()
    out = {}
    for name, mask in masked.items():
        module = net.get_submodule(name)
        for key, parameter in module.named_parameters(recurse=False):
            grad = parameter.grad.clone()
            if isinstance(module, nn.ConvTranspose2d) and key == "weight":
                grad[:, ~mask] = 0
            else:
                grad[~mask] = 0
            out[f"{name}.{key}"] = grad
    return out


def close(found, expected, tolerance):
    for name, value in expected.items():
        error = float((found[name] - value).norm() / value.norm().clamp(min=1e-30))
        assert error <= tolerance, (name, error)
        assert torch.equal(found[name] == 0, (value == 0) | (found[name] == 0)), name


def gradients(net, masks, flow, gather, x):
    net = copy.deepcopy(net)
    with tgd.TGD(net, masks, flow=flow, gather=gather, example_input=x[:1]) as layer:
        layer.train_mode()
        loss_of(net, x).backward()
        return {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}, len(
            layer._attachment.routes
        )


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("gather", sparse_backward.GATHERS)
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_gradients_are_those_of_the_masked_reference(name, gather, flow, dtype, tolerance):
    net, x = network(name, dtype), image(dtype=dtype)
    masks = random_masks(net)
    found, routes = gradients(net, masks, flow, gather, x)
    close(found, reference(net, masks, flow, x), tolerance)
    assert (routes > 0) == (gather == "always") or gather == "auto"


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize(
    ("conv", "shape"),
    [
        (nn.Conv1d(4, 6, 3, padding=1), (2, 4, 9)),
        (nn.Conv1d(4, 6, 3, padding="same", dilation=2), (2, 4, 9)),
        (nn.Conv1d(4, 6, 4, padding="same"), (2, 4, 9)),
        (nn.Conv2d(4, 6, (3, 1), stride=(2, 1), padding="valid"), (2, 4, 9, 8)),
        (nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular", bias=False), (2, 4, 9, 8)),
        (nn.Conv2d(4, 6, 3), (4, 9, 8)),
        (nn.Conv2d(4, 6, 3, groups=2), (2, 4, 9, 8)),
        (nn.Conv3d(4, 6, 3, padding=1), (2, 4, 5, 5, 5)),
        (nn.ConvTranspose1d(4, 6, 3, stride=2), (2, 4, 9)),
        (nn.ConvTranspose3d(4, 6, 2, stride=2), (2, 4, 3, 3, 3)),
    ],
)
@pytest.mark.parametrize("targets", [0, 1, 4, 6])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_every_kind_of_convolution(conv, shape, flow, targets):
    conv = copy.deepcopy(conv).double()
    mask = torch.randperm(6, generator=torch.Generator().manual_seed(targets)) < targets
    found = {}
    for gather in ("never", "always"):
        x = torch.randn(
            shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
        ).requires_grad_()
        conv.zero_grad()
        with tgd.TGD(nn.Sequential(conv), {"0": mask}, flow=flow, gather=gather):
            out = conv(x)
            (out**2).sum().backward()
        found[gather] = {
            "x": x.grad,
            **{n: p.grad for n, p in conv.named_parameters() if p.grad is not None},
        }
        assert torch.equal(out, conv(x))
    assert found["never"].keys() == found["always"].keys()
    close(found["always"], found["never"], 1e-12)


@pytest.mark.parametrize("gather", ["always", "never"])
def test_a_useful_channel_that_is_not_finite_stops_at_the_layer(gather):
    conv, mask = nn.Conv2d(3, 4, 3), torch.tensor([True, False, True, False])
    x = image().requires_grad_()
    with tgd.TGD(nn.Sequential(conv), {"0": mask}, flow="layer", gather=gather):
        out = conv(x)
        gradient = torch.ones_like(out)
        gradient[:, ~mask] = torch.nan
        out.backward(gradient)
    assert bool(
        x.grad.isfinite().all()
        & conv.weight.grad.isfinite().all()
        & conv.bias.grad.isfinite().all()
    )


class Recorder(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket is torch.ops.aten.convolution_backward:
            self.calls.append((args[0].shape[1], tuple(args[10])))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("flow", FLOWS)
def test_gradients_of_frozen_channels_are_never_computed(flow):
    net, x = small(), image()
    masks = random_masks(net)
    with tgd.TGD(net, masks, flow=flow, gather="always", example_input=x), Recorder() as recorder:
        loss_of(net, x).backward()
    targets = [int(m.sum()) for m in masks.values()][::-1]
    weights = [n for n, wanted in recorder.calls if wanted[1]]
    inputs = [n for n, wanted in recorder.calls if wanted[0]]
    assert weights == targets
    kernels = list(net.scored.values())[::-1]
    # the network's own input needs none
    assert inputs == [
        3,
        *(targets if flow == "layer" else kernels)[:-1],
    ]


@pytest.mark.parametrize("flow", FLOWS)
def test_below_the_first_target_nothing_is_computed(flow):
    net, x = small(), image()
    masks = {
        n: m if int(n.split(".")[1]) >= 3 else torch.zeros_like(m)
        for n, m in random_masks(net).items()
    }
    with tgd.TGD(net, masks, flow=flow, gather="always", example_input=x), Recorder() as recorder:
        assert not net.blocks[:3](x).requires_grad
        loss_of(net, x).backward()
    assert sum(wanted[1] for _, wanted in recorder.calls) == 4
    assert sum(wanted[0] for _, wanted in recorder.calls) == 4  # convolutions 4 to 7 of 0 to 7


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("memory", [torch.contiguous_format, LAST])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("low", [False, True])
def test_forward_is_bitwise_the_plain_one(flow, memory, training, low):
    for name in NETS:
        net = network(name).train(training).to(memory_format=memory)
        for module in net.modules():
            if isinstance(module, layer_kinds.BATCHNORM_LAYERS):
                module.eval()
        x = image().contiguous(memory_format=memory)
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            plain = net(x)
            with tgd.TGD(net, random_masks(net), flow=flow, gather="always", example_input=x):
                attached = net(x)
                with torch.no_grad():
                    quiet = net(x)
        assert attached.dtype == plain.dtype
        assert attached.stride() == plain.stride()
        assert torch.equal(attached, plain)
        assert torch.equal(quiet, plain)


@pytest.mark.parametrize("flow", FLOWS)
def test_low_precision_gradients_equal_the_plain_ones(flow):
    net, x = small(), image()
    masks = random_masks(net)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = gradients(net, masks, flow, "always", x)
        plain, _ = gradients(net, masks, flow, "never", x)
    assert all(g.dtype == torch.float32 for g in found.values())
    close(found, plain, 2e-2)


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("gather", ["always", "never"])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.filterwarnings(
    "ignore:.*autograd.function.Function.* should not be instantiated:DeprecationWarning"
)
def test_compiled_the_same_gradients_and_forward(flow, gather, backend):
    net, x = small(), image()
    masks = random_masks(net)
    expected, _ = gradients(net, masks, flow, gather, x)
    plain = copy.deepcopy(net).eval()(x)
    torch.compiler.reset()
    with tgd.TGD(net, masks, flow=flow, gather=gather, example_input=x[:1]) as layer:
        layer.train_mode()
        compiled = torch.compile(net, backend=backend)
        out = compiled(x)
        assert torch.equal(out, plain)
        loss_of(lambda _: out, x).backward()
        close({n: p.grad for n, p in net.named_parameters() if p.grad is not None}, expected, 1e-6)
        layer.step(torch.optim.SGD(layer.parameters(), lr=0.1))
        assert layer.unchanged()
