"""Links found by probing against brute force: change one kernel's output and see who reads it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from brute_force import OUTPUT, Brute
from tgdpet import tgd
from tgdpet.tgd import connectivity, kse, layer_kinds
from tgdpet.tgd.scoring import consumer_weight
from zoo import ZOO, Net, c2, deep_supervision, dynamic, functional_norms, image, norms

pytestmark = pytest.mark.usefixtures("one_thread")


def by_kernel(found: connectivity.Connections) -> dict[tuple[str, int], set[tuple[str, int]]]:
    """(module, kernel) -> {(consumer, input channel)}, with (OUTPUT, 0) for the network's
    output.
    """
    out: dict[tuple[str, int], set[tuple[str, int]]] = {}
    for link in found.links:
        if link.producer != connectivity.NETWORK_INPUT:
            for p, c in torch.nonzero(link.reach).tolist():
                out.setdefault((link.producer, p), set()).add((link.consumer, c))
    for name, reach in found.outputs.items():
        for p in torch.nonzero(reach).flatten().tolist():
            out.setdefault((name, p), set()).add((OUTPUT, 0))
    return out


@pytest.mark.parametrize("name", ZOO)
def test_links_are_those_of_brute_force(name):
    build, example = ZOO[name]
    model = build()
    found, brute = by_kernel(connectivity.connections(model, example)), Brute(model, example)
    for module, conv in model.named_modules():
        if isinstance(conv, layer_kinds.CONVS):
            for p in range(conv.out_channels):
                assert found.get((module, p), set()) == brute.feeds(module, p), (
                    f"{name}: kernel {p} of {module}"
                )


@pytest.mark.parametrize("name", ZOO)
def test_scores_are_the_largest_of_the_readers(name):
    build, example = ZOO[name]
    model = build()
    scores = tgd.score_kernels(model, example)
    weights = {
        n: kse.score(consumer_weight(m))
        for n, m in model.named_modules()
        if isinstance(m, layer_kinds.CONVS)
    }
    feeds = by_kernel(connectivity.connections(model, example))
    for module, values in scores.items():
        for p, value in enumerate(values.tolist()):
            readers = feeds.get((module, p), set())
            protected = (OUTPUT, 0) in readers or not readers
            expected = 1.0 if protected else max(float(weights[c][j]) for c, j in readers)
            assert value == pytest.approx(expected, abs=1e-12), f"{name}: kernel {p} of {module}"
    assert set(scores) == {
        m for (m, _), readers in feeds.items() if any(c != OUTPUT for c, _ in readers)
    }


def test_norms_by_function_are_norms():
    wiring = (
        by_kernel(connectivity.connections(build(), image(1, 1, 8, 8)))
        for build in (norms, functional_norms)
    )
    assert next(wiring) == next(wiring)


def test_control_flow_that_follows_the_data_is_read_on_every_branch():
    model = dynamic()
    with pytest.raises(tgd.TraceError, match=r"'cold': its forward was not called.*unused="):
        tgd.score_kernels(model, image(1, 1, 8, 8))
    feeds = by_kernel(connectivity.connections(model, image(1, 1, 8, 8), unused=["cold"]))
    for p in range(4):
        for module in ("stem", "blocks.0", "blocks.1"):
            assert ("warm", p) in feeds[module, p]
    assert feeds["stem", 1] == {("blocks.0", 1), ("blocks.1", 1), ("warm", 1)}


def test_heads_of_deep_supervision_are_readers():
    feeds = by_kernel(connectivity.connections(deep_supervision(), image(1, 1, 8, 8)))
    assert feeds["a", 2] == {("b", 2), ("head", 2)}


def test_a_branch_that_random_values_do_not_take_is_read():
    def forward(m, x):
        x = m.a(x)
        return m.b(x.flip(1)) + m.c(x) if float(x.detach().min()) > 50 else m.b(x) + m.c(x)

    model = Net(forward, a=nn.Conv2d(1, 3, 1), b=nn.Conv2d(3, 2, 1), c=nn.Conv2d(3, 2, 1))
    with torch.no_grad():
        model.a.weight.fill_(1.0)
    feeds = by_kernel(connectivity.connections(model, torch.full((1, 1, 4, 4), 99.0)))
    assert feeds["a", 0] == {("b", 0), ("b", 2), ("c", 0)}


def test_silent_kernels_are_linked_all_the_same():
    model = nn.Sequential(c2(1, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(0), nn.Unflatten(0, (4, 1, 1)),
                          nn.Conv2d(4, 1, 1))  # fmt: skip
    with torch.no_grad():
        model[0].bias.fill_(-100.0)
    feeds = by_kernel(connectivity.connections(model, image(1, 1, 8, 8)))
    assert all(feeds["0", p] == {("5", p)} for p in range(4))


def test_a_one_pixel_map_behind_relu_is_linked():
    model = nn.Sequential(nn.Conv2d(3, 16, 1), nn.ReLU(), nn.Conv2d(16, 2, 1))
    feeds = by_kernel(connectivity.connections(model, image(1, 3, 1, 1)))
    assert all(feeds["0", p] == {("2", p)} for p in range(16))


def fft_over_channels(m, x):
    return m.b(torch.fft.fft(m.a(x), dim=1).abs())


def linear_between(m, x):
    return m.b(m.mix(m.a(x).movedim(1, -1)).movedim(-1, 1))


def attention_between(m, x):
    y = m.a(x)
    tokens = y.flatten(2).movedim(1, 2)
    return m.b((y + m.mix(tokens, tokens, tokens)[0].movedim(1, 2).reshape(y.shape)).relu())


@pytest.mark.parametrize(
    ("forward", "mix"),
    [
        (fft_over_channels, nn.Identity()),
        (linear_between, nn.Linear(4, 4)),
        (attention_between, nn.MultiheadAttention(4, 2, batch_first=True)),
    ],
)
def test_what_mixes_all_channels_protects_all_kernels(forward, mix):
    model = Net(forward, a=c2(1, 4), mix=mix, b=c2(4, 2))
    assert tgd.score_kernels(model, image(1, 1, 6, 6))["a"].tolist() == [1.0] * 4
