"""What cannot be traced is an error that names the module; tracing leaves the model and the random
state alone.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tgdpet import tgd
from tgdpet.tgd import connectivity
from zoo import Net, c2, image, resnet

pytestmark = pytest.mark.usefixtures("one_thread")


def detached(m, x):
    y = m.a(x)
    return m.b(F.relu(y) + y.flip(1).detach())


def without_gradients(m, x):
    y = m.a(x)
    with torch.no_grad():
        z = y.flip(1) * 2
    return m.b(y + z)


def through_numpy(m, x):
    y = m.a(x)
    return m.b(torch.from_numpy(y.detach().numpy()[:, ::-1].copy()))


def sorted_channels(m, x):
    y = m.a(x)
    return m.b(y[:, y.mean((0, 2, 3)).argsort()])


def strongest_half(m, x):
    y = m.a(x)
    chosen = y.abs().mean((0, 2, 3)).topk(8).indices
    return m.b(F.pad(y[:, chosen], (0, 0, 0, 0, 0, 8)))


def thresholded(m, x):
    y = m.a(x)
    return m.b((y > 0).to(y.dtype))


@pytest.mark.parametrize(
    ("forward", "word"),
    [
        (detached, "autograd does not see"),
        (without_gradients, "autograd does not see"),
        (through_numpy, "autograd does not see"),
        (thresholded, "autograd does not see"),
        (sorted_channels, "autograd does not see|differs from run to run"),
        (strongest_half, "autograd does not see|differs from run to run"),
    ],
)
def test_hidden_ways_are_refused_by_name(forward, word):
    model = Net(forward, a=c2(1, 16), b=c2(16, 2))
    with pytest.raises(tgd.TraceError, match=f"'b'.*({word})"):
        tgd.score_kernels(model, image(1, 1, 6, 6))


def test_a_functional_convolution_is_refused_by_name():
    model = Net(lambda m, x: F.conv2d(x, m.inner.weight), inner=nn.Conv2d(1, 2, 3))
    with pytest.raises(tgd.TraceError, match="Net.*function call"):
        tgd.score_kernels(nn.Sequential(model).append(nn.ReLU())[0], image(1, 1, 8, 8))
    with pytest.raises(tgd.TraceError, match="module '0'.*function call"):
        tgd.score_kernels(nn.Sequential(model, nn.ReLU()), image(1, 1, 8, 8))


def test_an_uncalled_convolution_is_refused_unless_named():
    model = Net(lambda m, x: m.b(m.a(x)), a=c2(1, 3), b=c2(3, 1), spare=c2(3, 3))
    with pytest.raises(tgd.TraceError, match="'spare'.*not called"):
        tgd.score_kernels(model, image(1, 1, 8, 8))
    assert set(tgd.score_kernels(model, image(1, 1, 8, 8), unused=["spare"])) == {"a"}
    with pytest.raises(tgd.TraceError, match="unused: .*spore"):
        tgd.score_kernels(model, image(1, 1, 8, 8), unused=["spore"])


def test_a_convolution_of_something_else_is_refused_by_name():
    class Listing(nn.Conv2d):
        def forward(self, x):
            return super().forward(x[0])

    model = Net(lambda m, x: m.a([x]), a=Listing(1, 2, 3))
    with pytest.raises(tgd.TraceError, match="'a': expected a tensor.*list"):
        tgd.score_kernels(model, image(1, 1, 8, 8))


def test_no_convolution_is_an_error():
    with pytest.raises(tgd.TraceError, match="Linear: no convolution"):
        tgd.score_kernels(nn.Linear(2, 2), torch.zeros(1, 2))


def test_the_model_and_the_random_state_are_left_alone():
    model = resnet().train()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    tgd.score_kernels(model, image(1, 2, 8, 8))
    assert torch.equal(torch.rand(3), expected)
    assert model.training and model.bn.training
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize(
    "context", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)]
)
def test_the_callers_context_does_not_matter(context):
    torch.manual_seed(0)
    model = resnet()
    expected = tgd.score_kernels(model, image(1, 2, 8, 8))
    with context():
        scores = tgd.score_kernels(model, image(1, 2, 8, 8))
    assert all(torch.equal(scores[n], v) for n, v in expected.items())


def test_a_hook_that_is_part_of_the_network_counts():
    for place in ("a", "mid"):
        model = Net(lambda m, x: m.b(m.mid(m.a(x))), a=c2(1, 4), mid=nn.ReLU(), b=c2(4, 2))
        model.get_submodule(place).register_forward_hook(
            lambda module, args, output: output.flip(1)
        )
        (link,) = [x for x in connectivity.links(model, image(1, 1, 6, 6)) if x.producer == "a"]
        assert torch.equal(link.reach, torch.eye(4, dtype=torch.bool).flip(1))


def test_keyword_arguments_and_other_inputs():
    model = Net(lambda m, x, scale, mode: m.b(input=m.a(x) * scale), a=c2(1, 3), b=c2(3, 1))
    scores = tgd.score_kernels(model, (image(1, 1, 6, 6), torch.tensor(2), "any"))
    assert set(scores) == {"a"}

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, *, picture, factor):
            return self.inner(picture, factor, None)

    named = tgd.score_kernels(Named(), {"picture": image(1, 1, 6, 6), "factor": 3.0})
    assert torch.equal(named["inner.a"], scores["a"])


def test_a_compiled_model_is_traced_under_its_own_names():
    model = torch.compile(resnet(), backend="eager")
    assert "_orig_mod.stem" in tgd.score_kernels(model, image(1, 2, 8, 8))


def test_a_forward_pass_that_differentiates_itself_is_refused_in_one_line():
    def gradient_of_energy(m, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            energy = m.b(F.relu(m.a(x))).square().sum()
            return torch.autograd.grad(energy, x)[0]

    net = Net(gradient_of_energy, a=c2(1, 8), b=c2(8, 1))
    net(torch.rand(1, 1, 8, 8))
    with pytest.raises(tgd.TraceError, match="differentiates in its own forward pass") as caught:
        tgd.score_kernels(net, torch.rand(1, 1, 8, 8))
    assert "\n" not in str(caught.value)

    def other_error(m, x):
        raise RuntimeError("of the network")

    with pytest.raises(RuntimeError, match="of the network"):
        tgd.score_kernels(Net(other_error, a=c2(1, 8), b=c2(8, 1)), torch.rand(1, 1, 8, 8))
