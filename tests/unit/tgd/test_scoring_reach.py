"""Kernels that feed many channels, or few, or none: narrow maps and wide ones are told apart the
same way.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tgdpet import tgd
from tgdpet.tgd import connectivity, reach
from tgdpet.tgd.activation_graph import ActivationGraph, Draw
from zoo import Net, c2, image

pytestmark = pytest.mark.usefixtures("one_thread")


def c1(n_in: int, n_out: int) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, 1)


def mixed(m, y):
    return m.mix(y.movedim(1, -1)).movedim(-1, 1)


def reaches(model: nn.Module, example: Tensor) -> dict[str, Tensor]:
    """The reach of every link, by "producer consumer"."""
    return {f"{x.producer} {x.consumer}": x.reach for x in connectivity.links(model, example)}


def expected(n: int, *parts: Tensor) -> Tensor:
    """Side by side, with the 5 channels of another convolution at the end."""
    return torch.cat([*parts, torch.zeros(n, 5, dtype=torch.bool)], 1)


@pytest.mark.parametrize("n", [3, 8, 40])  # taken one by one, by groups, by a sample
@pytest.mark.parametrize("side", [1, 5])
def test_kernels_are_told_apart_in_maps_of_any_width(n, side):
    def run(m, x):
        y, z = F.relu(m.a(x)), m.other(x)
        whole = y.sum(1, keepdim=True).expand(-1, 5, -1, -1)
        return (
            m.once(torch.cat([y[:, 1:], z], 1))
            + m.twice(torch.cat([y, y.flip(1), z], 1))
            + m.all(torch.cat([mixed(m, y), z], 1))
            + m.sum(torch.cat([y, whole], 1))
            + m.none(torch.ones_like(z))
        )

    readers = {"once": n + 4, "twice": 2 * n + 5, "all": n + 5, "sum": n + 5, "none": 5}
    model = Net(
        run,
        a=c1(2, n),
        other=c1(2, 5),
        mix=nn.Linear(n, n),
        **{k: c1(v, 2) for k, v in readers.items()},
    )
    found = reaches(model, image(1, 2, side, side))
    eye, full = torch.eye(n, dtype=torch.bool), torch.ones(n, n, dtype=torch.bool)
    assert torch.equal(found["a once"], expected(n, eye[:, 1:]))
    assert torch.equal(found["a twice"], expected(n, eye, eye.flip(1)))
    assert torch.equal(found["a all"], expected(n, full))
    assert torch.equal(found["a sum"], torch.cat([eye, torch.ones(n, 5, dtype=torch.bool)], 1))
    for name, reader in readers.items():
        if name not in ("sum", "none"):
            own = torch.cat(
                [torch.zeros(5, reader - 5, dtype=torch.bool), torch.eye(5, dtype=torch.bool)], 1
            )
            assert torch.equal(found[f"other {name}"], own), name
    assert not [pair for pair in found if pair.endswith(" none")]


def test_no_sample_stands_for_a_map_that_is_not_wide():
    def run(m, x):
        y, z = mixed(m, m.a(x)), m.other(x)
        return [read(torch.cat([y[:, :at], z, y[:, at:]], 1)) for at, read in enumerate(m.readers)]

    readers = nn.ModuleList(c1(25, 1) for _ in range(25))
    model = Net(run, a=c1(1, 24), other=c1(1, 1), mix=nn.Linear(24, 24), readers=readers)
    found = reaches(model, image(1, 1, 2, 2))
    for at in range(25):
        assert torch.equal(found[f"a readers.{at}"], (torch.arange(25) != at).expand(24, -1)), at


@pytest.mark.parametrize(
    ("n", "mix", "known", "passes"),
    [
        (3, False, {}, 3),  # one a channel
        (128, False, {}, 10),  # C(10, 5) = 252 words
        (128, True, {}, 10 + 16),  # and a sample
        (128, True, {"a": torch.ones(128, 128, dtype=torch.bool)}, 10),  # all are linked already
    ],
)
def test_wide_maps_take_few_backward_passes(monkeypatch, n, mix, known, passes):
    model = Net(
        lambda m, x: m.b(mixed(m, m.a(x))),
        a=c1(1, n),
        mix=nn.Linear(n, n) if mix else nn.Identity(),
        b=c1(n, 1),
    )
    forward_pass = ActivationGraph(model, image(1, 1, 2, 2)).run()
    read = forward_pass.conv_inputs[-1]
    calls = []
    touched = reach.touched_kernels
    monkeypatch.setattr(reach, "touched_kernels", lambda *given: calls.append(1) or touched(*given))
    found = reach.reach_of_input(read, forward_pass, known)
    assert read.module == "b" and len(calls) == passes
    assert ("a" in found) == ("a" not in known)


@pytest.mark.parametrize("silent", [0, 7])
@pytest.mark.parametrize(("before", "after"), [(0, 70), (70, 0), (33, 41), (90, 3)])
def test_a_mixed_block_beside_others_takes_few_backward_passes(monkeypatch, before, after, silent):
    def forward(m, x):
        y = mixed(m, m.a(x) * m.gate)
        z = m.other(x)
        return m.b(torch.cat([z[:, :before], y, z[:, before:]], 1))

    n = 50
    n_all = before + n + after
    gate = (torch.arange(n) >= silent).float()[:, None, None]
    parts = {"a": c1(1, n), "other": c1(1, before + after), "mix": nn.Linear(n, n)}
    model = Net(forward, **parts, b=c1(n_all, 1))
    model.register_buffer("gate", gate)
    forward_pass = ActivationGraph(model, image(1, 1, 2, 2)).run()
    read = forward_pass.conv_inputs[-1]

    calls = []
    touched = reach.touched_kernels
    monkeypatch.setattr(reach, "touched_kernels", lambda *given: calls.append(1) or touched(*given))
    found = reach.reach_of_input(read, forward_pass)
    in_block = (torch.arange(n_all) >= before) & (torch.arange(n_all) < before + n)
    assert torch.equal(found["a"], (torch.arange(n) >= silent)[:, None] & in_block)
    others = torch.eye(before + after, dtype=torch.bool)
    assert torch.equal(found["other"][:, ~in_block], others)
    assert not bool(found["other"][:, in_block].any())
    assert len(calls) < 64 < n_all

    # Nothing new: asked for once by each group of kernels that the same channels read.
    calls.clear()
    again = reach.reach_of_input(read, forward_pass, found)
    assert "a" not in again and len(calls) <= 10 + 2


def test_what_is_new_beside_what_is_known_is_seen():
    model = Net(
        lambda m, x: m.b(torch.cat([mixed(m, m.a(x)), m.other(x)], 1)),
        a=c1(1, 40),
        other=c1(1, 40),
        mix=nn.Linear(40, 40),
        b=c1(80, 1),
    )
    forward_pass = ActivationGraph(model, image(1, 1, 2, 2)).run()
    read = forward_pass.conv_inputs[-1]
    whole = reach.reach_of_input(read, forward_pass)["a"]
    for kernel, channel in [(0, 0), (39, 39), (17, 5)]:
        known = whole.clone()
        known[kernel, channel] = False
        found = reach.reach_of_input(read, forward_pass, {"a": known})
        assert torch.equal(found["a"], whole)


def test_two_blocks_and_a_block_with_a_gap_are_told_channel_by_channel():
    def forward(m, x):
        y = mixed(m, m.a(x))
        z = m.other(x)
        return m.b(torch.cat([y, z, y], 1)) + m.c(torch.cat([y[:, :20], z, y[:, 20:]], 1))

    parts = {"a": c1(1, 40), "other": c1(1, 30), "mix": nn.Linear(40, 40)}
    found = reaches(Net(forward, **parts, b=c1(110, 1), c=c1(70, 1)), image(1, 1, 2, 2))
    twice = (torch.arange(110) < 40) | (torch.arange(110) >= 70)
    gap = (torch.arange(70) < 20) | (torch.arange(70) >= 50)
    assert torch.equal(found["a b"], twice.expand(40, -1))
    assert torch.equal(found["a c"], gap.expand(40, -1))


@pytest.mark.parametrize("n", [2, 12])  # one by one, by groups
def test_the_networks_own_input_is_one_row_all_true(n):
    model = Net(lambda m, x: (m.b(torch.cat([m.a(x), x], 1)), x), a=c2(2, n), b=c2(n + 2, 1))
    found = reaches(model, image(1, 2, 6, 6))
    for pair, channels in [
        (f"{connectivity.NETWORK_INPUT} a", 2),
        (f"{connectivity.NETWORK_INPUT} b", n + 2),
    ]:
        assert (
            found[pair].dtype == torch.bool
            and found[pair].shape == (1, channels)
            and bool(found[pair].all())
        )
    assert set(connectivity.connections(model, image(1, 2, 6, 6)).outputs) == {"b"}


def test_what_sums_to_nothing_over_the_map_is_linked():
    def centred(y):
        # of 4 pixels, the gradients of a plain sum cancel exactly
        return y - y.mean((2, 3), keepdim=True)

    model = Net(lambda m, x: (centred(y := m.a(x)), m.b(centred(y))), a=c1(1, 12), b=c1(12, 2))
    found = connectivity.connections(model, image(1, 1, 2, 2))
    assert torch.equal(found.links[-1].reach, torch.eye(12, dtype=torch.bool))
    assert bool(found.outputs["a"].all())


def test_a_number_of_calls_that_follows_the_data_is_no_hidden_way():
    def forward(m, x):
        y = m.a(x)
        for _ in range(int((y.detach()[0, :, 0, 0] > 0).sum())):
            y = y + m.step(F.relu(y))
        return m.b(y)

    found = reaches(Net(forward, a=c1(1, 9), step=c1(9, 9), b=c1(9, 1)), image(1, 1, 4, 4))
    for pair in ("a step", "a b", "step step", "step b"):
        assert torch.equal(found[pair], torch.eye(9, dtype=torch.bool)), pair


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_values_that_are_no_numbers_are_no_change(value):
    x = image(1, 3, 4, 4)
    x[0, 1] = value
    model = Net(lambda m, x: m.b(torch.cat([m.a(x[:, :1]), x], 1)), a=c1(1, 4), b=c1(7, 1))
    found = reaches(model, x)["a b"]
    assert torch.equal(
        found, torch.cat([torch.eye(4, dtype=torch.bool), torch.zeros(4, 3, dtype=torch.bool)], 1)
    )


@pytest.mark.parametrize("share", [0.01, 0.05])
def test_a_small_part_that_is_hidden_is_still_seen(share):
    def forward(m, x):
        y = m.a(x)
        return m.b(y + share * y.detach().roll(1, 1))

    with pytest.raises(
        tgd.TraceError,
        match="'b': its input depends on 'a' by a way that autograd does not see",
    ):
        connectivity.links(Net(forward, a=c1(1, 8), b=c1(8, 1)), image(1, 1, 4, 4))


def test_ways_of_the_training_mode_count_only_where_it_is_needed():
    def forward(m, x):
        y = m.a(x)
        return (m.b(m.norm(y.flip(1))), m.head(y)) if m.training else m.b(m.norm(y))

    eye, parts = (
        torch.eye(4, dtype=torch.bool),
        {"a": c2(1, 4), "norm": nn.BatchNorm2d(4), "b": c2(4, 1)},
    )
    with_head = Net(forward, **parts, head=c2(4, 1))
    assert torch.equal(reaches(with_head, image(2, 1, 6, 6))["a b"], eye | eye.flip(1))
    assert connectivity.following_norms(with_head, image(2, 1, 6, 6)) == {}
    without = Net(forward, **parts)
    without.head = nn.Identity()
    assert torch.equal(reaches(without, image(2, 1, 6, 6))["a b"], eye)
    assert connectivity.following_norms(without, image(2, 1, 6, 6)) == {"a": ["norm"]}


def test_news_from_the_search_for_hidden_ways_means_one_more_turn(monkeypatch):
    turns = []

    def hidden(net, found, turn):
        found.n_entries += not turns
        turns.append(turn)

    monkeypatch.setattr(connectivity, "hidden_dependence", hidden)
    connectivity.links(nn.Sequential(c1(1, 4), c1(4, 1)), image(1, 1, 4, 4))
    assert len(turns) == 2 and turns[1] == turns[0] + 1


def test_a_mask_of_yes_and_no_among_the_parameters_is_left_as_it_is():
    mask = torch.tensor([True, False, False, True])
    model = Net(lambda m, x: m.b(m.a(x) * m.mask[:, None, None]), a=c1(1, 4), b=c1(4, 1))
    model.mask = nn.Parameter(mask, requires_grad=False)
    assert torch.equal(reaches(model, image(1, 1, 4, 4))["a b"], mask.diag())


def test_a_branch_that_redrawn_kernels_open_is_learned_from():
    def forward(m, x):
        y = m.a(x)
        return m.b(m.step(y) if float(y.detach()[0, 0, 0, 0]) < 0 else y)

    net = ActivationGraph(Net(forward, a=c1(1, 1), step=c1(1, 1), b=c1(1, 1)), image(1, 1, 4, 4))

    def steps(*draw):
        return len(net.run(Draw(*draw)).calls) == 3

    every = torch.ones(1, dtype=torch.bool)
    seed = next(s for s in range(100) if not steps(s) and steps(s, 1, {"a": every}))
    found = connectivity.ObservedLinks()
    found.add(net.run(Draw(seed)))
    assert ("a", "step") not in found.links
    assert connectivity.hidden_dependence(net, found, seed) is None
    assert bool(found.links["a", "step"].all())


def test_one_kernel_that_another_depends_on_is_seen_wherever_it_lies():
    def hidden(i, j):
        def forward(m, x):
            y = m.a(x)
            z = y.clone()
            z[:, j] += y[:, i].detach()
            return m.b(z)

        return Net(forward, a=c1(1, 5), b=c1(5, 1))

    for i in range(5):
        for j in set(range(5)) - {i}:
            with pytest.raises(tgd.TraceError, match="autograd does not see"):
                connectivity.links(hidden(i, j), image(1, 1, 4, 4))


@pytest.mark.parametrize(("kernel", "limit"), [(0, -4.0), (2, 0.0), (2, 4.0), (3, -4.0), (4, -4.0)])
def test_a_dependency_that_some_draws_hide_is_not_cleared_by_a_lucky_one(kernel, limit):
    def forward(m, x):
        y = m.a(x)
        z = y.clone()
        if float(y[:, kernel].detach().sum()) > limit:  # not in every draw
            z[:, kernel + 1] += y[:, kernel].detach()
        return m.b(z)

    with pytest.raises(tgd.TraceError, match="autograd does not see"):
        connectivity.links(Net(forward, a=c1(1, 6), b=c1(6, 1)), image(1, 1, 4, 4))


def kept(m, x):
    return m.b(m.a(x) * m.scale)


def changed_before(m, x):
    m.scale.add_(1.0)
    return m.b(m.a(x) * m.scale)


def rebound(m, x):
    m.scale = m.scale + 1.0
    return m.b(m.a(x) * m.scale)


@pytest.mark.parametrize(
    ("forward", "value"),
    [(kept, 2.0), (changed_before, 0.0), (changed_before, 2.0), (rebound, 0.0), (rebound, 2.0)],
)
def test_a_buffer_that_scales_what_is_read_is_as_in_the_pass(forward, value):
    model = Net(forward, a=c1(1, 6), b=c1(6, 1))
    model.register_buffer("scale", torch.full((6, 1, 1), value))
    found = reaches(model, image(1, 1, 4, 4))
    assert torch.equal(found["a b"], torch.eye(6, dtype=torch.bool))
    assert bool((model.scale == value).all())

    graph = ActivationGraph(model, image(1, 1, 4, 4))
    graph.run()
    assert bool((graph.network.scale == value).all())
