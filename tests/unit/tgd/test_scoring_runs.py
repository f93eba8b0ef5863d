"""The runs that the links come from: what they draw, what they put back, and what must not get into
them.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tgdpet import tgd
from tgdpet.tgd import connectivity
from tgdpet.tgd.activation_graph import NETWORK_INPUT, ActivationGraph, Draw
from tgdpet.tgd.layer import FLOWS
from zoo import Net, c2, checkpointed, deep_supervision, image

pytestmark = pytest.mark.usefixtures("one_thread")


def reach(model, example, producer="a", consumer="b"):
    """What the consumer reads of the producer."""
    (link,) = [
        x
        for x in connectivity.links(model, example)
        if (x.producer, x.consumer) == (producer, consumer)
    ]
    return link.reach


def eye(n):
    return torch.eye(n, dtype=torch.bool)


def values(net: ActivationGraph, draw: Draw | None) -> dict[str, Tensor]:
    """What the convolutions' leaves hold in one run."""
    return {
        name: leaf.detach().clone()
        for name, leaf, _ in net.run(draw).leaves
        if name != NETWORK_INPUT
    }


def test_a_draw_is_fixed_by_its_seed_its_sign_and_what_it_redraws():
    model = Net(lambda m, x: m.c(m.a(x) + m.b(x)), a=c2(1, 4), b=c2(1, 4), c=c2(4, 1))
    net = ActivationGraph(model, image(1, 1, 5, 5))
    one, again, other, minus = (values(net, d) for d in (Draw(0), Draw(0), Draw(1), Draw(0, -1)))
    assert not torch.equal(one["a"], one["b"])
    for name, value in one.items():
        assert torch.equal(value, again[name]) and torch.equal(value, -minus[name]), name
        assert not (value == other[name]).any(), name
    channels = torch.tensor([False, True, True, False])
    part = values(net, Draw(0, 1, {"a": channels}))
    assert torch.equal((part["a"] != one["a"]).movedim(1, 0).flatten(1).all(1), channels)
    assert torch.equal((part["a"] == one["a"]).movedim(1, 0).flatten(1).all(1), ~channels)
    assert torch.equal(part["b"], one["b"]) and torch.equal(part["c"], one["c"])
    true = values(net, None)
    torch.testing.assert_close(true["a"], model.a(image(1, 1, 5, 5)).detach())


def test_one_pair_of_opposite_signs_shows_every_kernel_behind_relu(monkeypatch):
    model = nn.Sequential(nn.Conv2d(3, 64, 1), nn.ReLU(), nn.Conv2d(64, 2, 1))
    with torch.no_grad():
        model[0].bias.fill_(-100.0)  # nothing passes in the run on the real data
    # one pair that finds them, one that finds nothing new
    monkeypatch.setattr(connectivity, "MOST_ROUNDS", 2)
    assert torch.equal(reach(model, image(1, 3, 1, 1), "0", "2"), eye(64))


def test_differences_of_dead_kernels_are_linked():
    model = Net(lambda m, x: m.c(F.relu(m.a(x) - m.b(x))), a=c2(1, 4), b=c2(1, 4), c=c2(4, 1))
    model.b.load_state_dict(model.a.state_dict())
    for producer in "ab":
        assert torch.equal(reach(model, image(1, 1, 6, 6), producer, "c"), eye(4))


def rolled(m, x):
    m.calls += 1
    return m.b(m.norm(m.a(x)).roll(int(m.calls), 1))


def test_buffers_are_put_back_after_every_run():
    model = Net(rolled, a=c2(1, 4), norm=nn.BatchNorm2d(4), b=c2(4, 2)).train()
    model.register_buffer("calls", torch.tensor(0))
    model.register_buffer("hidden", torch.tensor(3.0), persistent=False)
    before = {n: b.clone() for n, b in model.named_buffers()}
    assert torch.equal(reach(model, image(2, 1, 6, 6)), eye(4).roll(1, 1))
    tgd.score_kernels(model, image(2, 1, 6, 6))
    net = ActivationGraph(model, image(2, 1, 6, 6))
    for train in (False, True):
        net.network.train(train)
        for draw in (None, Draw(0), Draw(0, -1)):
            net.run(draw)
            for owner in (model, net.network):
                assert all(torch.equal(b, before[n]) for n, b in owner.named_buffers()), (
                    train,
                    draw,
                )


def test_buffers_are_put_back_after_a_run_that_fails():
    def forward(m, x):
        m.calls += 1
        raise RuntimeError("stop") if int(m.calls) else AssertionError

    model = Net(forward, a=c2(1, 4))
    model.register_buffer("calls", torch.tensor(0))
    net = ActivationGraph(model, image(1, 1, 6, 6))
    with pytest.raises(RuntimeError, match="stop"):
        net.run()
    assert int(net.network.calls) == 0


def test_dropout_drops_the_same_kernels_when_values_are_redrawn():
    def forward(m, x):
        y = m.a(x)
        return m.b(torch.cat([y, F.dropout2d(torch.ones_like(y), 0.5, training=True)], 1))

    model = Net(forward, a=c2(1, 8), b=c2(16, 2))
    assert torch.equal(
        reach(model, image(1, 1, 6, 6)), torch.cat([eye(8), torch.zeros_like(eye(8))], 1)
    )


def test_what_is_drawn_by_chance_inside_follows_the_draw_alone():
    net = ActivationGraph(
        Net(lambda m, x: F.dropout(m.a(x), 0.5, training=True), a=c2(1, 4)), image(1, 1, 6, 6)
    )

    def dropped(draw, seed):
        torch.manual_seed(seed)
        return net.run(draw).outputs[0] == 0

    for draw in (None, Draw(0), Draw(1, -1)):
        assert torch.equal(dropped(draw, 1), dropped(draw, 2))
    assert torch.equal(
        dropped(Draw(3), 1), dropped(Draw(3, -1, {"a": torch.ones(4, dtype=torch.bool)}), 1)
    )
    assert not torch.equal(dropped(Draw(0), 1), dropped(Draw(1), 1))


def test_a_backward_pass_that_calls_convolutions_again_adds_no_calls():
    net = ActivationGraph(checkpointed(), image(1, 1, 6, 6).requires_grad_())
    for draw in (None, Draw(0)):
        record = net.run(draw)
        connectivity.ObservedLinks().add(record)
        assert [n for n, _ in record.calls] == ["a", "b", "c"]
        assert [n for n, _, _ in record.leaves] == [NETWORK_INPUT, "a", "b", "c"]


def test_a_branch_on_normalised_values_is_that_of_the_data():
    def forward(m, x):
        y = m.norm(m.a(x))
        return m.b(y.flip(1) if float(y.detach().max()) < -20 else y)

    model = Net(forward, a=c2(1, 4), norm=nn.BatchNorm2d(4), b=c2(4, 2))
    with torch.no_grad():
        model.norm.running_mean.fill_(50.0)
    assert torch.equal(reach(model, image(1, 1, 6, 6)), eye(4) | eye(4).flip(1))


def test_a_head_for_training_may_normalise_a_single_value():
    def forward(m, x):
        y = F.relu(m.a(x))
        return (m.out(y), m.head(m.norm(y.mean((2, 3), keepdim=True)))) if m.training else m.out(y)

    model = Net(forward, a=c2(1, 4), norm=nn.BatchNorm2d(4), out=c2(4, 1), head=nn.Conv2d(4, 1, 1))
    assert torch.equal(reach(model, image(1, 1, 6, 6), "a", "head"), eye(4))


def zeroed_later(m, x):
    y = m.a(x)
    z = m.b(y)
    y.zero_()
    return z


def zeroed_at_once(m, x):
    return m.b(F.relu_(m.a(x)))


def first_in_place(m, x):
    return m.b(m.a(x.mul_(2)))


@pytest.mark.parametrize("forward", [zeroed_later, zeroed_at_once, first_in_place])
def test_changes_in_place_do_not_reach_what_was_read_or_given(forward):
    example = image(1, 1, 6, 6)
    before = example.clone()
    assert torch.equal(reach(Net(forward, a=c2(1, 4), b=c2(4, 2)), example), eye(4))
    assert torch.equal(example, before)


def test_whole_numbers_given_are_not_changed():
    def forward(m, x, step):
        step += 1
        return m.b(m.a(x).roll(int(step), 1))

    step = torch.tensor(0)
    assert torch.equal(
        reach(Net(forward, a=c2(1, 4), b=c2(4, 2)), (image(1, 1, 6, 6), step)), eye(4).roll(1, 1)
    )
    assert int(step) == 0


def test_what_a_norm_reads_stays_its_own():
    def forward(m, x):
        y = m.a(x)
        return m.b(y - F.relu(m.norm(y), inplace=True))

    model = Net(forward, a=c2(1, 4), norm=nn.GroupNorm(2, 4), b=c2(4, 2))
    with torch.no_grad():
        model.norm.bias.fill_(100.0)  # relu is open wherever the data are real
    assert torch.equal(reach(model, image(1, 1, 6, 6)), eye(4))


def test_a_branch_behind_a_gate_of_zero_is_read():
    def forward(m, x):
        y = m.a(x)
        return m.b(y.flip(1) if float(m.gate.detach()) == 0 else y)

    model = Net(forward, a=c2(1, 4), b=c2(4, 2))
    model.gate = nn.Parameter(torch.zeros(()))
    assert torch.equal(reach(model, image(1, 1, 6, 6)), eye(4) | eye(4).flip(1))


def test_a_shared_convolution_may_give_maps_of_several_sizes():
    def forward(m, x):
        y = m.a(x)
        small, large = (m.up(y, output_size=[n, n]) for n in (11, 12))
        half = F.pad(m.up(F.avg_pool2d(y, 2)), (0, 7, 0, 7))
        return m.b(F.pad(small, (0, 1, 0, 1)) + large + half)

    model = Net(
        forward, a=c2(1, 4), up=nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1), b=c2(3, 1)
    )
    assert torch.equal(reach(model, image(1, 1, 6, 6), "a", "up"), eye(4))
    assert torch.equal(reach(model, image(1, 1, 6, 6), "up", "b"), eye(3))


def test_backward_hooks_of_the_user_are_not_called():
    model, calls = Net(lambda m, x: m.b(F.relu_(m.a(x))), a=c2(1, 4), b=c2(4, 2)), []
    for module in (model.a, model.b):
        module.register_full_backward_hook(lambda *_: calls.append(1))
        module.register_full_backward_pre_hook(lambda *_: calls.append(1))
    tgd.score_kernels(model, image(1, 1, 6, 6))
    assert not calls


@pytest.mark.parametrize("flow", FLOWS)
def test_an_attached_network_has_the_same_scores(flow):
    model = Net(
        lambda m, x: m.b(F.relu(m.norm(m.a(x)))), a=c2(1, 6), norm=nn.BatchNorm2d(6), b=c2(6, 2)
    )
    expected = tgd.score_kernels(model, image(1, 1, 6, 6))["a"]
    with tgd.TGD(model, {"a": expected < 0.5}, flow=flow) as layer:
        assert torch.equal(tgd.score_kernels(model, image(1, 1, 6, 6))["a"], expected)
        assert torch.equal(reach(model, image(1, 1, 6, 6)), eye(6))
        assert layer.unchanged()


@dataclasses.dataclass
class Output:
    images: list[Tensor]
    cause: str = "a dataclass"


@pytest.mark.parametrize(
    ("leave", "protected"),
    [
        (lambda y, out: out, [False] * 4),
        (lambda y, out: Output([out, y[:, 1:]]), [False, True, True, True]),
        (lambda y, out: {"deep": [Output([y])], "out": out}, [True] * 4),
        (lambda y, out: 1j * torch.cat([out, y], 1), [True] * 4),
        (
            lambda y, out: (out.argmax(1), y[:, :1] > 0, "text"),
            [False] * 4,
            # no gradient: nothing to protect
        ),
        (lambda y, out: (out.argmax(1), y[:, :1].double(), None), [True, False, False, False]),
        (lambda y, out: out - y.mean((2, 3), keepdim=True) + F.softmax(y, 1), [True] * 4),
    ],
)
def test_what_leaves_the_network_is_found_in_any_output(leave, protected):
    model = Net(lambda m, x: leave(y := m.a(x), m.b(F.relu(y))), a=c2(1, 4), b=c2(4, 4))
    found = connectivity.connections(model, image(1, 1, 6, 6)).outputs
    assert ("a" in found) == any(protected)
    assert found.get("a", torch.zeros(4, dtype=torch.bool)).tolist() == protected


def test_kernels_of_the_networks_own_are_refused_but_constants_are_not():
    def blurred(m, x):
        y = m.a(x)
        return m.b(F.conv2d(y, torch.ones(4, 1, 3, 3) / 9, padding=1, groups=4))

    assert torch.equal(reach(Net(blurred, a=c2(1, 4), b=c2(4, 2)), image(1, 1, 6, 6)), eye(4))
    model = Net(lambda m, x: m.b(F.conv2d(m.a(x), m.kernel)), a=c2(1, 4), b=c2(4, 2))
    model.kernel = nn.Parameter(torch.rand(4, 4, 1, 1))
    with pytest.raises(tgd.TraceError, match="module 'Net': runs a convolution by a function call"):
        connectivity.links(model, image(1, 1, 6, 6))


@pytest.mark.parametrize(
    "context", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)]
)
def test_runs_have_gradients_and_full_precision_in_any_context(context):
    kinds = set()

    def forward(m, x):
        y = m.a(x)
        kinds.add((y.dtype, y.requires_grad, y.is_inference(), (y @ y).dtype))
        return m.b(m.norm(y))

    model = Net(forward, a=c2(1, 4), norm=nn.BatchNorm2d(4), b=c2(4, 2))
    with context():
        assert torch.equal(reach(model, image(1, 1, 6, 6)), eye(4))
        assert connectivity.following_norms(model, image(1, 1, 6, 6)) == {"a": ["norm"]}
    assert kinds == {(torch.float32, True, False, torch.float32)}


def test_heads_of_either_mode_are_called():
    model = deep_supervision()
    both = Net(lambda m, x: m.inner(x)[1] if m.training else m.late(x), inner=model, late=c2(1, 1))
    assert {x.consumer for x in connectivity.links(both, image(1, 1, 6, 6))} == {
        "late",
        *(f"inner.{n}" for n in ("a", "b", "out", "head")),
    }
