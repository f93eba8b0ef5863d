"""Every buffer is kept, whichever module owns it, unless it is known to be free."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tgd_cases import bits, same_bits
from tgdpet import tgd

pytestmark = pytest.mark.usefixtures("one_thread")

HALF = torch.tensor([True, False, True, False])


def convolution(*size: int) -> nn.Conv2d:
    return nn.Conv2d(*size, 3, padding=1)


def image(seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(seed)) + 0.5


class MovingAverage(nn.Module):
    """Subtracts a moving average of its own and uses it in the graph."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(4, 1, 1))
        self.register_buffer("scale", torch.ones(4, 1, 1), persistent=False)
        self.register_buffer("n_seen", torch.tensor(0))

    def forward(self, x):
        if self.training:
            self.n_seen += 1
            with torch.no_grad():
                self.mean.lerp_(x.mean((0, 2, 3), keepdim=True)[0], 0.1)
                self.scale *= 1.01
        return (x - self.mean) * self.scale


class LateBuffer(nn.Module):
    """Takes its scale from the first batch that it sees in training, and grows a history."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", None)
        self.register_buffer("history", torch.zeros(0))

    def forward(self, x):
        if self.training:
            if self.scale is None:
                self.scale = x.detach().std()
            self.history = torch.cat([self.history, x.detach().mean()[None]])
        return x if self.scale is None else x / self.scale


def old_spectral_norm(conv: nn.Module) -> nn.Module:
    return torch.nn.utils.spectral_norm(conv)


def spectral_norm(conv: nn.Module) -> nn.Module:
    return torch.nn.utils.parametrizations.spectral_norm(conv)


def between(module: nn.Module, frozen=lambda conv: conv) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        convolution(2, 4), module, nn.ReLU(), frozen(convolution(4, 4)), convolution(4, 2)
    )


NETWORKS = {
    "instance norm": lambda: between(nn.InstanceNorm2d(4, track_running_stats=True)),
    "affine": lambda: between(nn.InstanceNorm2d(4, track_running_stats=True, affine=True)),
    "spectral": lambda: between(nn.Identity(), spectral_norm),
    "old spectral": lambda: between(nn.Identity(), old_spectral_norm),
    "moving average": lambda: between(MovingAverage()),
    "late": lambda: between(LateBuffer()),
    "nothing tracked": lambda: between(nn.BatchNorm2d(4, track_running_stats=False)),
}


def buffers(model: nn.Module) -> dict[str, torch.Tensor | None]:
    """All of them, those that state_dict leaves out too."""
    return {
        f"{name}.{key}": None if value is None else value.clone()
        for name, module in model.named_modules()
        for key, value in module._buffers.items()
    }


def same_buffers(a, b) -> bool:
    return a.keys() == b.keys() and all(
        (a[k] is None and b[k] is None)
        or (a[k] is not None and b[k] is not None and torch.equal(a[k], b[k]))
        for k in a
    )


@pytest.mark.parametrize("example", [None, image()], ids=["lazy", "example"])
@pytest.mark.parametrize("name", NETWORKS)
def test_buffers_keep_their_bits_through_steps_in_train_mode(name, example):
    model = NETWORKS[name]()
    before, maps = buffers(model), model.eval()(image(99))
    weight = model[0].weight.detach().clone()
    with tgd.TGD(model, {"0": HALF}, example_input=example) as layer:
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.05)
        for step in range(10):
            model.train()
            optimizer.zero_grad()
            (model(image(step)) ** 2).mean().backward()
            layer.step(optimizer)
            assert same_buffers(buffers(model), before)
        model(image())
        assert layer.unchanged()
    assert same_buffers(buffers(model), before)
    assert torch.equal(model[0].weight[~HALF], weight[~HALF])
    assert not torch.equal(model[0].weight[HALF], weight[HALF])

    with torch.no_grad():
        model[0].weight.copy_(weight)
    assert not torch.equal(model.eval()(image(99)), maps)  # its bias was retrained too


@pytest.mark.parametrize("name", ["spectral", "old spectral", "moving average", "late"])
def test_forward_passes_between_steps_leave_no_trace_in_evaluation(name):
    model = NETWORKS[name]()
    before = buffers(model)
    with tgd.TGD(model, {"0": torch.zeros_like(HALF)}):
        expected = model.eval()(image())
        model.train()
        model(image(1))
        assert torch.equal(model.eval()(image()), expected)
    assert same_buffers(buffers(model), before)


def test_buffers_are_put_back_after_an_error_too():
    model = NETWORKS["moving average"]()
    before = bits(model)
    with pytest.raises(KeyboardInterrupt), tgd.TGD(model, {"0": HALF}) as layer:
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.05)
        (model.train()(image()) ** 2).mean().backward()
        optimizer.step()
        with torch.no_grad():
            model[0].weight[1] += 1  # half of a step
        raise KeyboardInterrupt
    now = bits(model)
    assert {n for n in now if not torch.equal(now[n], before[n])} == {"0.weight", "0.bias"}
    row = torch.equal(now["0.weight"].reshape(4, -1)[1], before["0.weight"].reshape(4, -1)[1])
    assert row


@pytest.mark.parametrize("batchnorm", ["eval", "per_channel", "train"])
def test_statistics_of_instances_follow_the_batches_only_where_asked(batchnorm):
    model = NETWORKS["instance norm"]()
    before = buffers(model)
    with tgd.TGD(model, {"0": HALF}, batchnorm=batchnorm) as layer:
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.05)
        (model.train()(image()) ** 2).mean().backward()
        layer.step(optimizer)
        assert layer.unchanged()
    assert same_buffers(buffers(model), before) == (batchnorm != "train")


def test_a_kernel_whose_convolution_is_wholly_open_takes_its_own_buffers_along():
    model = between(nn.Identity(), spectral_norm)
    before = buffers(model)
    masks = {"3": torch.ones(4, dtype=torch.bool)}
    with tgd.TGD(model, masks) as layer:
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.05)
        (model.train()(image()) ** 2).mean().backward()
        layer.step(optimizer)
    now = buffers(model)
    changed = {n for n in now if not torch.equal(now[n], before[n])}
    assert changed == {"3.parametrizations.weight.0._u", "3.parametrizations.weight.0._v"}


def test_two_rounds_find_the_state_of_the_first():
    model = NETWORKS["moving average"]()
    before = bits(model)
    for _ in range(2):
        with tgd.TGD(model, {"0": torch.zeros_like(HALF)}):
            model.train()(image())
    assert same_bits(bits(model), before)
