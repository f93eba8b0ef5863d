"""The penalties that fine-tuning is held by: what their formulas say, at no strength, some and
much.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch.nn import functional

from tgdpet.config.sections import NetworkEntry
from tgdpet.training import baselines, tradeoff, validation
from tgdpet.training.adapt import adapt_network
from tgdpet.training.loop import fit
from tgdpet.training.run import TrainingRun
from tgdpet.training.tasks import Task
from tgdpet.training.validation import task_loss
from training_cases import SETTINGS, network, parts, same, state, stop_at, write_index

pytestmark = pytest.mark.usefixtures("one_thread")

PLAIN = NetworkEntry(method="finetune", data="adapt", base="x", blocks=8)


@pytest.fixture(autouse=True)
def few_patches(monkeypatch):
    monkeypatch.setattr(baselines, "FISHER_PATCHES", 16)
    monkeypatch.setattr(validation, "JUDGED_PATCHES", 64)


@pytest.fixture
def new(tmp_path):
    return write_index(tmp_path / "new", seed=10, gamma_shape=3)


@pytest.fixture
def old(tmp_path):
    return write_index(tmp_path / "old")


def adapted(entry, new, old, tmp_path, name="net", stop=None, settings=SETTINGS, checkpoint=False):
    model = network()
    data, held_out = parts(new)
    if stop is not None:
        stop_at(data, stop)
    run = TrainingRun(
        "net",
        tmp_path / f"{name}.csv",
        tmp_path / f"{name}.safetensors" if checkpoint else None,
        "same",
    )
    past = Task(*parts(old, seed=2)) if old is not None else None
    new_task = Task(data, held_out)

    return model, adapt_network(model, entry, new_task, settings, run, old=past, seed=3)


def test_fisher_is_the_mean_square_of_single_patches_gradients(old):
    model, data = network(), parts(old)[0]
    parameters = list(model.parameters())
    values = baselines.fisher(model, parameters, data, 6)
    expected = [torch.zeros_like(p) for p in parameters]
    for number, row in enumerate(data.epoch_order(0, 6)):
        batch = data.batch(row[None], number)
        model.zero_grad()
        ((model(batch.noisy) - batch.target) ** 2).mean().backward()
        expected = [e + p.grad**2 / 6 for e, p in zip(expected, parameters, strict=True)]
    for value, wanted in zip(values, expected, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-4, atol=0)
    assert all(p.requires_grad for p in parameters) and not model.training


def test_the_gradient_of_ewc_is_strength_times_fisher_times_distance():
    model = network()
    parameters = list(model.parameters())
    generator = torch.Generator().manual_seed(1)
    importance = [torch.rand(p.shape, generator=generator) for p in parameters]
    penalty = baselines.quadratic(parameters, importance, 2.5)
    away = [0.1 * torch.randn(p.shape, generator=generator) for p in parameters]
    with torch.no_grad():
        for p, step in zip(parameters, away, strict=True):
            p.add_(step)
    value = penalty(None, None)
    value.backward()
    for p, f, step in zip(parameters, importance, away, strict=True):
        torch.testing.assert_close(p.grad, 2.5 * f * step, rtol=1e-4, atol=1e-6)
    wanted = sum(1.25 * float((f * s**2).sum()) for f, s in zip(importance, away, strict=True))
    assert float(value.detach()) == pytest.approx(wanted, rel=1e-4)


def test_l2_sp_is_ewc_with_equal_importance():
    parameters = list(network().parameters())
    both = [
        baselines.quadratic(parameters, f, 0.7)
        for f in (None, [torch.ones_like(p) for p in parameters])
    ]
    with torch.no_grad():
        for p in parameters:
            p.mul_(1.5)
    first, second = (float(penalty(None, None).detach()) for penalty in both)
    assert first == second > 0


def test_distillation_is_the_distance_to_the_outputs_at_the_start(new):
    model, (data, _) = network(), parts(new)
    penalty = baselines.distillation(model, 3.0)
    batch = data.batch(torch.arange(4), 0)
    before = model.eval()(batch.noisy).detach()
    assert float(penalty(batch, before)) == 0
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.1)
    output = model(batch.noisy)
    torch.testing.assert_close(penalty(batch, output), 3 * functional.mse_loss(output, before))


@pytest.mark.parametrize("penalty", ["ewc", "l2sp", "lwf"])
def test_no_strength_is_plain_fine_tuning_bit_for_bit(new, old, tmp_path, penalty):
    plain, _ = adapted(PLAIN, new, None, tmp_path)
    held, done = adapted(replace(PLAIN, penalty=penalty, strength=0.0), new, old, tmp_path)
    assert same(state(plain), state(held))
    assert done.numbers["penalty"] == penalty and done.numbers["strength"] == 0


@pytest.mark.parametrize("penalty", ["ewc", "l2sp"])
def test_much_strength_keeps_the_weights(new, old, tmp_path, penalty):
    plain, _ = adapted(PLAIN, new, None, tmp_path)
    held, _ = adapted(replace(PLAIN, penalty=penalty, strength=1e6), new, old, tmp_path)
    base = network()
    start = list(base.parameters())
    importance = [torch.ones_like(p) for p in start]
    if penalty == "ewc":  # what does not matter to the old task is free
        importance = baselines.fisher(base, start, parts(old, seed=2)[0], 16)

    def distance(model):
        ways = zip(importance, model.parameters(), start, strict=True)
        return sum(float((f * (p - s).detach() ** 2).sum()) for f, p, s in ways)

    assert distance(held) < 0.05 * distance(plain)


def test_much_distillation_keeps_the_outputs(new, tmp_path):
    settings = replace(SETTINGS, epochs=30)
    inputs = parts(new)[0].batch(torch.arange(8), 99).noisy
    before = network().eval()(inputs)
    change = {}
    for name, entry in [("plain", PLAIN), ("lwf", replace(PLAIN, penalty="lwf", strength=1e4))]:
        model, _ = adapted(entry, new, None, tmp_path, settings=settings)
        change[name] = float(functional.mse_loss(model(inputs), before).detach())
    assert change["lwf"] < 0.02 * change["plain"]


def test_a_strength_is_chosen_on_old_studies_held_out(new, old, tmp_path, monkeypatch):
    monkeypatch.setitem(baselines.PENALTIES, "ewc", (0.0, 1e3))
    model, done = adapted(replace(PLAIN, penalty="ewc"), new, old, tmp_path)
    n = done.numbers
    assert [t["strength"] for t in n["strengths_tried"]] == [0.0, 1e3]
    assert n["old_loss_held_out"] and n["new_loss_held_out"] and n["fisher_patches"] == 16
    best = tradeoff.chosen(
        n["strengths_tried"], n["old_loss_of_base"], n["strengths_tried"][0]["old_loss"]
    )
    assert n["strength"] == n["strengths_tried"][best]["strength"]
    again, other = adapted(
        replace(PLAIN, penalty="ewc", strength=n["strength"]), new, old, tmp_path
    )
    assert same(state(model), state(again)) and [r["loss"] for r in done.rows] == [
        r["loss"] for r in other.rows
    ]
    judge = parts(old, seed=2)[1]
    assert n["strengths_tried"][best]["old_loss"] == task_loss(model, judge, SETTINGS)
    assert n["strengths_tried"][best]["new_loss"] == task_loss(model, parts(new)[1], SETTINGS)
    assert n["old_loss_of_base"] == task_loss(network(), judge, SETTINGS)


def test_weights_and_log_are_those_of_the_chosen_strength(new, old, tmp_path, monkeypatch):
    monkeypatch.setitem(baselines.PENALTIES, "l2sp", (0.0, 1e3))
    monkeypatch.setattr(baselines, "chosen", lambda *_: 0)
    model, done = adapted(replace(PLAIN, penalty="l2sp"), new, old, tmp_path)
    plain, _ = adapted(PLAIN, new, None, tmp_path, "plain")
    assert same(state(model), state(plain))
    assert done.numbers["strength"] == 0
    losses = [pd.read_csv(tmp_path / f"{name}.csv")["loss"].tolist() for name in ("net", "plain")]
    assert losses[0] == losses[1]


def test_without_studies_held_out_the_training_patches_judge(new, old, tmp_path, monkeypatch):
    monkeypatch.setitem(baselines.PENALTIES, "l2sp", (1.0,))
    model, (data, held_out), past = network(), parts(new), Task(*parts(old))
    for none in (held_out, past.held_out):
        none.table = none.table[:0]
    run = TrainingRun("net", tmp_path / "log.csv")
    entry = replace(PLAIN, penalty="l2sp")
    done = adapt_network(model, entry, Task(data, held_out), SETTINGS, run, old=past)
    assert not done.numbers["old_loss_held_out"] and not done.numbers["new_loss_held_out"]
    (tried,) = done.numbers["strengths_tried"]
    assert tried["old_loss"] == task_loss(model, past.train, SETTINGS)
    assert tried["new_loss"] == task_loss(model, data, SETTINGS)


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        (
            [(1.2, 0.1), (1.05, 0.3), (1.0, 0.5)],
            1,
        ),  # old, new: the best new one of those that keep the old
        ([(1.2, 0.1), (1.1, 0.3), (1.0, 0.2)], 2),
        ([(1.5, 0.1), (1.25, 0.2), (1.0, 0.5)], 1),  # just half
        ([(1.2, 0.1), (1.11, 0.2), (1.105, 0.5)], 2),  # none forgets half as little
        (
            [(1.1, 0.3), (1.4, 0.1), (1.04, 0.5)],
            2,
        ),  # half of what plain training does, not of the most
        ([(0.9, 0.1), (0.8, 0.1)], 0),
        ([(0.9, 0.1), (1.01, 0.05)], 0),  # plain training forgets nothing, so nothing may be
        ([(0.9, 0.3), (0.97, 0.1)], 1),  # nor need it do better than the base
    ],
)
def test_the_chosen_strength_forgets_half_at_most_and_is_best_on_the_new(losses, best):
    tried = [
        {"strength": float(i), "old_loss": o, "new_loss": n} for i, (o, n) in enumerate(losses)
    ]
    assert tradeoff.chosen(tried, 1.0, tried[0]["old_loss"]) == best
    turned = [{**t} for t in tried[::-1]]  # the order of the list does not matter
    assert (
        turned[tradeoff.chosen(turned, 1.0, tried[0]["old_loss"])]["new_loss"]
        == tried[best]["new_loss"]
    )


@pytest.mark.parametrize("stop", [5, 15])  # in the first candidate, and in the second
@pytest.mark.parametrize("strength", [None, 0.5])
def test_a_stopped_run_of_ewc_ends_in_the_same_bits(
    new, old, tmp_path, monkeypatch, strength, stop
):
    monkeypatch.setitem(baselines.PENALTIES, "ewc", (0.1, 10.0))
    entry = replace(PLAIN, penalty="ewc", strength=strength)
    stop = stop if strength is None else 7
    whole, rows = adapted(entry, new, old, tmp_path, "whole", checkpoint=True)
    with pytest.raises(SystemExit):
        adapted(entry, new, old, tmp_path, "cut", stop=stop, checkpoint=True)
    resumed, after = adapted(entry, new, old, tmp_path, "cut", checkpoint=True)
    assert same(state(whole), state(resumed))
    assert rows.numbers == after.numbers
    for key in ("step", "loss", "validation_loss"):
        assert [r[key] for r in rows.rows] == [r[key] for r in after.rows], key
    assert (tmp_path / "whole.csv").read_text().count("\n") == (
        tmp_path / "cut.csv"
    ).read_text().count("\n")


def test_a_finished_candidate_is_not_trained_again(new, old, tmp_path, monkeypatch):
    monkeypatch.setitem(baselines.PENALTIES, "ewc", (0.1, 10.0))
    entry = replace(PLAIN, penalty="ewc")
    adapted(entry, new, old, tmp_path, checkpoint=True)
    monkeypatch.setattr(torch.optim.Adam, "step", lambda *_: pytest.fail("trained again"))
    adapted(entry, new, old, tmp_path, checkpoint=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"penalty": "ewc", "strength": 1.0}, r"net: penalty: ewc needs .*--old"),
        ({"penalty": "lwf"}, r"net: strength: missing; .*--old"),
        ({"replay": 0.5}, r"net: replay: 0\.5 needs .*--old"),
        ({"method": "train"}, r"net: method: 'train' adapts nothing"),
    ],
)
def test_what_lacks_its_data_is_refused(new, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        adapted(replace(PLAIN, **change), new, None, tmp_path)


def test_a_strength_of_ewc_means_the_same_whatever_the_losss_scale(new, old, tmp_path, monkeypatch):
    entry, fisher = replace(PLAIN, penalty="ewc", strength=1.0), baselines.fisher
    plain, done = adapted(entry, new, old, tmp_path)
    monkeypatch.setattr(baselines, "fisher", lambda *given: [2.0**20 * f for f in fisher(*given)])
    scaled, other = adapted(entry, new, old, tmp_path)
    assert same(state(plain), state(scaled))
    assert other.numbers["fisher_mean"] == 2**20 * done.numbers["fisher_mean"]


def test_a_network_without_gradients_has_no_fisher_information(new, old, tmp_path, monkeypatch):
    monkeypatch.setattr(
        baselines, "fisher", lambda m, parameters, *_: [torch.zeros_like(p) for p in parameters]
    )
    with pytest.raises(ValueError, match=r"Fisher information is 0\.0 on average"):
        adapted(replace(PLAIN, penalty="ewc", strength=1.0), new, old, tmp_path)


def test_a_penalty_that_is_not_finite_stops_the_run(new, tmp_path):
    run = TrainingRun("net", tmp_path / "log.csv")
    with pytest.raises(ValueError, match="the loss is inf at step 0"):
        fit(
            network(),
            *parts(new),
            SETTINGS,
            run,
            penalty=lambda batch, output: (output * 0).sum() + torch.inf,
        )


def test_penalties_hold_what_moves_and_leave_the_rest(new, old, tmp_path):
    model, _ = adapted(replace(PLAIN, blocks=2, penalty="ewc", strength=0.1), new, old, tmp_path)
    before, after = state(network()), state(model)
    assert {n.split(".")[1] for n in before if not torch.equal(before[n], after[n])} == {"6", "7"}
