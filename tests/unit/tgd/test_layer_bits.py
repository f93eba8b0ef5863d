"""Useful kernels keep their bits, whatever the optimizer, the scaler or the loop around TGD
does.
"""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tgd_cases import bits, image, kept, masks_of, moved, random_masks, same_bits, small, train
from tgdpet import tgd
from tgdpet.tgd.layer import BATCHNORM_MODES, FLOWS

pytestmark = pytest.mark.usefixtures("one_thread")

BASES = {
    "sgd": functools.partial(torch.optim.SGD, lr=0.1),
    "momentum and decay": functools.partial(
        torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1
    ),
    "adam": functools.partial(torch.optim.Adam, lr=0.01),
    "adam with l2": functools.partial(torch.optim.Adam, lr=0.01, weight_decay=0.1),
    "adamw": functools.partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1),
}
ADAMW = BASES["adamw"]
VARIANTS = {"plain": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}


@pytest.fixture
def model():
    return small()


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", BASES)
def test_every_optimizer_moves_the_targets_only(model, name, variant, flow):
    before, masks = bits(model), random_masks(model)
    with tgd.TGD(model, masks, flow=flow) as layer:
        train(model, layer, BASES[name](layer.parameters(), **VARIANTS[variant]), steps=2)
        assert layer.unchanged()
    assert kept(model, before, masks)
    assert moved(model, before, masks)


@pytest.mark.parametrize("batchnorm", BATCHNORM_MODES)
@pytest.mark.parametrize("gather", ["always", "never"])
def test_every_treatment_of_statistics_keeps_what_it_says(model, batchnorm, gather):
    before, masks = bits(model), random_masks(model)
    with tgd.TGD(model, masks, batchnorm=batchnorm, gather=gather) as layer:
        train(model, layer, ADAMW(layer.parameters()))
    assert kept(model, before, masks, batchnorm)
    assert moved(model, before, masks)
    statistics = {
        n for n in before if "running" in n and not torch.equal(before[n], bits(model)[n])
    }
    assert bool(statistics) == (batchnorm != "eval")


@pytest.mark.parametrize("name", ["momentum and decay", "adamw"])
def test_state_of_earlier_full_training_moves_nothing(model, name):
    optimizer = BASES[name](model.parameters())
    for step in range(2):
        (model(image(seed=step)) ** 2).mean().backward()
        optimizer.step()
    # the gradients of the last step are still there
    before, masks = (
        bits(model),
        random_masks(model),
    )
    with tgd.TGD(model, masks) as layer:
        layer.step(optimizer)
        train(model, layer, optimizer)
    assert kept(model, before, masks)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("flow", FLOWS)
def test_a_batch_that_is_not_finite_moves_no_useful_kernel(model, flow, bad):
    before, masks = bits(model), random_masks(model)
    with tgd.TGD(model, masks, flow=flow, gather="always") as layer:
        optimizer = ADAMW(layer.parameters())
        train(model, layer, optimizer, steps=1, bad=bad)
        train(model, layer, optimizer, steps=2)
    assert kept(model, before, masks)


@pytest.mark.parametrize("flow", FLOWS)
def test_mixed_precision_and_a_gradient_scaler(model, flow):
    before, masks = bits(model), random_masks(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=1e38, growth_interval=1)
    skipped = 0
    with tgd.TGD(model, masks, flow=flow, gather="always") as layer:
        optimizer = ADAMW(layer.parameters())
        for step in range(4):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = (model(image(seed=step)) ** 2).mean()
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
            layer.step(optimizer, scaler=scaler)
            scale = scaler.get_scale()
            scaler.update(1024.0 if step == 0 else None)
            skipped += scale > 1e37
    assert skipped == 1
    assert kept(model, before, masks)
    assert moved(model, before, masks)


@pytest.mark.parametrize("bad", [1.0, float("nan")])
def test_clipping_by_norm_and_value(model, bad):
    before, masks = bits(model), random_masks(model)
    with tgd.TGD(model, masks) as layer:
        optimizer = ADAMW(layer.parameters())
        for step in range(2):
            optimizer.zero_grad()
            ((model(image(seed=step)) ** 2).mean() * bad).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            torch.nn.utils.clip_grad_value_(layer.parameters(), 0.01)
            layer.step(optimizer)
    assert kept(model, before, masks)


def test_the_norm_that_clips_is_of_the_targets_alone(model):
    masks = random_masks(model)
    with tgd.TGD(model, masks, gather="never") as layer:
        (model(image()) ** 2).mean().backward()
        whole = torch.nn.utils.get_total_norm([p.grad for p in layer.parameters()])
        only = torch.nn.utils.get_total_norm(
            [model.get_submodule(n).weight.grad[m] for n, m in masks.items()]
            + [
                model.get_submodule(n[:-4] + k).get_parameter(p).grad[m]
                for n, m in masks.items()
                for k, p in (("bn", "weight"), ("bn", "bias"))
                if n != "blocks.0.conv"
            ]
            + [model.blocks[0].conv.bias.grad[masks["blocks.0.conv"]]]
        )
    torch.testing.assert_close(whole, only)


def loop_average(average, model, decay=0.9):
    for own, new in zip(average.parameters(), model.parameters(), strict=True):
        own.mul_(decay).add_(new, alpha=1 - decay)  # rounds, even for equal values


@pytest.mark.parametrize("way", ["swa", "ema", "loop"])
def test_an_average_of_the_weights_is_restored(model, way):
    with torch.no_grad():
        model.blocks[3].conv.weight[~random_masks(model)["blocks.3.conv"]] *= -0.0
    before, masks = bits(model), random_masks(model)
    wrapped = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9) if way == "ema" else None)
    average = copy.deepcopy(model) if way == "loop" else wrapped.module
    with tgd.TGD(model, masks) as layer:
        optimizer = ADAMW(layer.parameters())
        for step in range(4):
            train(model, layer, optimizer, steps=1, first=step)
            with torch.no_grad():
                loop_average(average, model) if way == "loop" else wrapped.update_parameters(model)
        assert not layer.unchanged(average)  # rounding, or -0.0 + 0.0
        layer.restore(average)
        assert layer.unchanged(average)
    assert kept(average, before, masks)
    assert moved(average, before, masks)
    assert not same_bits(bits(average), bits(model))


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("attach_first", [True, False])
def test_resumed_in_the_middle_it_ends_in_the_same_bits(model, flow, attach_first):
    start, masks = copy.deepcopy(model), random_masks(model)
    before = bits(model)
    with tgd.TGD(model, masks, flow=flow) as layer:
        optimizer = ADAMW(layer.parameters())
        train(model, layer, optimizer, steps=2)
        saved = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
        train(model, layer, optimizer, steps=2, first=2)
    if not attach_first:
        start.load_state_dict(saved[0])
    with tgd.TGD(start, masks, flow=flow) as layer:
        optimizer = ADAMW(layer.parameters())
        start.load_state_dict(saved[0])
        optimizer.load_state_dict(saved[1])
        train(start, layer, optimizer, steps=2, first=2)
    assert same_bits(bits(start), bits(model))
    assert kept(start, before, masks)


def test_negative_zero_stays_negative(model):
    masks = random_masks(model)
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_submodule(name).weight[~mask] = -0.0
        model.blocks[2].bn.bias.fill_(-0.0)
    before = bits(model)
    with tgd.TGD(model, masks) as layer:
        train(model, layer, BASES["momentum and decay"](model.parameters()))
    assert kept(model, before, masks)


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("batchnorm", ["eval", "per_channel"])
def test_phi_zero_leaves_the_whole_state_as_it_was(model, flow, batchnorm):
    before = bits(model)
    with tgd.TGD(model, masks_of(model, 0.0), flow=flow, batchnorm=batchnorm) as layer:
        assert list(layer.parameters()) == []
        optimizer = ADAMW(model.parameters())
        for step in range(2):
            model.train()
            model(image(seed=step))
            layer.step(optimizer)
    assert same_bits(bits(model), before)


@pytest.mark.parametrize("flow", FLOWS)
def test_phi_above_one_moves_all_but_the_last_convolution(model, flow):
    before, masks = bits(model), masks_of(model, 1.1)
    with tgd.TGD(model, masks, flow=flow) as layer:
        train(model, layer, ADAMW(layer.parameters()))
    changed = {n for n, b in bits(model).items() if not torch.equal(b, before[n])}
    assert changed == {n for n, _ in model.named_parameters() if not n.startswith("blocks.7")}


def test_rounds_keep_or_collect_their_targets(model):
    """TGD^n: each round keeps what it found; with accumulated masks, what was open once stays
    open.
    """
    first = {n: m & (torch.arange(len(m)) % 2 == 0) for n, m in random_masks(model).items()}
    second = {n: ~m & (torch.arange(len(m)) % 3 == 0) for n, m in first.items()}
    union = tgd.accumulate(first, second)
    assert all(torch.equal(union[n], first[n] | second[n]) for n in first)
    for masks in (second, union):
        net = copy.deepcopy(model)
        for targets in (first, masks):
            before = bits(net)
            with tgd.TGD(net, targets) as layer:
                train(net, layer, ADAMW(layer.parameters()))
            assert kept(net, before, targets)
        closed = first["blocks.3.conv"] & ~masks["blocks.3.conv"]
        assert bool(closed.any()) == (masks is second)


def test_accumulating_takes_in_what_only_one_round_names():
    a, b = {"x": torch.tensor([True, False])}, {"y": torch.tensor([False, True])}
    out = tgd.accumulate(a, b)
    assert {n: m.tolist() for n, m in out.items()} == {"x": [True, False], "y": [False, True]}
    out["x"][:] = False
    assert a["x"].tolist() == [True, False]


@pytest.mark.parametrize("bad", [torch.tensor([True]), torch.tensor([1.0, 0.0])])
def test_masks_that_do_not_fit_together_are_refused(bad):
    with pytest.raises(ValueError, match=r"layer: expected \d booleans"):
        tgd.accumulate({"layer": torch.tensor([True, False])}, {"layer": bad})
    with pytest.raises(ValueError, match=r"layer: expected \d booleans"):
        tgd.accumulate({"layer": bad}, {"layer": torch.tensor([True, False])})
    with pytest.raises(ValueError, match="booleans"):
        tgd.accumulate({}, {"layer": torch.zeros(2)})


def test_a_parameter_without_a_mask_is_frozen_beside_the_masked_ones():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.PReLU(8), nn.Conv2d(8, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 3, 3)
    )
    before = bits(net)
    masks = {"0": torch.arange(8) % 2 == 0}
    with tgd.TGD(net, masks) as layer:
        train(net, layer, ADAMW(net.parameters()))
    now = bits(net)
    assert {n for n in now if not torch.equal(now[n], before[n])} == {"0.weight", "0.bias"}
    assert kept(net, before, masks)
