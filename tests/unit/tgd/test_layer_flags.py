"""Flags of the caller are opened, and given back; a constructor that fails changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tgd_cases import bits, image, random_masks, same_bits, small, trace, train
from tgdpet import tgd
from tgdpet.tgd import attachment

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("example", [None, image()], ids=["lazy", "example"])
@pytest.mark.parametrize("flow", ["parameter", "layer"])
def test_masks_open_what_the_caller_has_frozen(flow, example):
    model = small().requires_grad_(False)
    model.blocks[2].conv.weight.requires_grad_(True)
    masks, before, flags = random_masks(model), bits(model), trace(model)
    with tgd.TGD(model, masks, flow=flow, example_input=example) as layer:
        train(model, layer, torch.optim.Adam(layer.parameters(), lr=0.01))
    now = bits(model)
    moved = {n for n in now if not torch.equal(now[n], before[n])}
    assert {f"{n}.weight" for n, mask in masks.items() if mask.any()} <= moved
    assert trace(model) == flags


def test_a_network_made_without_gradients_is_opened_too():
    with torch.no_grad():
        model = small().requires_grad_(False)
    before = bits(model)
    with tgd.TGD(model, random_masks(model)) as layer, torch.enable_grad():
        train(model, layer, torch.optim.Adam(layer.parameters(), lr=0.01))
    assert not same_bits(bits(model), before)


def test_parameters_made_for_inference_are_refused_by_name():
    with torch.inference_mode():
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3))
    with pytest.raises(ValueError, match=r"'0\.weight'.*inference"):
        tgd.TGD(model, {"0": torch.ones(4, dtype=torch.bool)})


FAULTS = {
    "mask": lambda model: {"masks": random_masks(model) | {"blocks.5.conv": torch.ones(2)}},
    "flow": lambda model: {"masks": random_masks(model), "flow": "lyer"},
    "example": lambda model: {
        "masks": random_masks(model),
        "example_input": torch.zeros(1, 5, 8, 8),
    },
    "phi": lambda model: {"phi": -1.0, "example_input": image(1)},
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_constructor_that_fails_leaves_the_model_as_it_was(fault, training):
    model = small().requires_grad_(False).train(training)
    options = FAULTS[fault](model)
    before, flags = bits(model), trace(model)
    with pytest.raises((ValueError, RuntimeError)):
        tgd.TGD(model, flow=options.pop("flow", "layer"), gather="always", **options)
    assert same_bits(bits(model), before)
    assert trace(model) == flags


@pytest.mark.parametrize("method", ["_hook_gradients", "_hook_norms", "_hook_tgd_layers"])
def test_wherever_it_fails_it_leaves_the_model_as_it_was(monkeypatch, method):
    def fail(*args):
        raise RuntimeError("out of memory")

    model = small().requires_grad_(False)
    before, flags, masks = bits(model), trace(model), random_masks(model)
    monkeypatch.setattr(attachment.Attachment, method, fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        tgd.TGD(model, masks, flow="layer", gather="always", example_input=image())
    assert same_bits(bits(model), before)
    assert trace(model) == flags


def test_a_model_has_one_tgd_at_a_time():
    model = small()
    with tgd.TGD(model, random_masks(model)):
        flags = trace(model)
        with pytest.raises(ValueError, match="detach it first"):
            tgd.TGD(model, random_masks(model))
        assert trace(model) == flags
    tgd.TGD(model, random_masks(model)).detach()


@pytest.mark.parametrize("how", ["with", "detach", "error"])
def test_the_end_gives_every_flag_and_mode_back(how):
    model = small().eval()
    model.blocks[1].conv.requires_grad_(False)
    model.blocks[2].bn.train()
    flags, masks = trace(model), random_masks(model)
    if how == "detach":
        layer = tgd.TGD(model, masks)
        model(image())
        layer.detach()
        layer.detach()
    elif how == "with":
        with tgd.TGD(model, masks):
            model(image())
    else:
        with pytest.raises(OSError), tgd.TGD(model, masks):
            model(image())
            raise OSError
    assert trace(model) == flags


def test_a_network_that_is_cast_while_attached_ends_in_an_error():
    model = small()
    layer = tgd.TGD(model, random_masks(model), example_input=image())
    model.double()
    with pytest.raises(RuntimeError, match=r"blocks\.\d\.conv\.weight: expected torch.float32"):
        layer.restore()
    model.float()
    layer.detach()


def test_a_parameter_that_is_taken_away_while_attached_is_named():
    model = small()
    layer = tgd.TGD(model, random_masks(model), example_input=image())
    torch.nn.utils.parametrizations.weight_norm(model.blocks[3].conv)
    with pytest.raises(RuntimeError, match=r"'blocks\.3\.conv\.weight' is no longer in its module"):
        layer.restore()
    with pytest.raises(RuntimeError, match="no longer in its module"):
        layer.detach()
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_parameters_that_are_replaced_while_attached_are_kept_too():
    model = small()
    before, masks = bits(model), random_masks(model)
    with tgd.TGD(model, masks, flow="layer", gather="never", example_input=image()) as layer:
        state = {name: value.clone() for name, value in model.state_dict().items()}
        model.load_state_dict(state, assign=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for step in range(2):
            optimizer.zero_grad()
            (model(image(seed=step)) ** 2).mean().backward()
            optimizer.step()
            useful = ~masks["blocks.3.conv"]
            assert bool((model.blocks[3].conv.weight.grad[useful] == 0).all())
        assert layer.unchanged()
    now = bits(model)
    assert {n for n in now if not torch.equal(now[n], before[n])} >= {"blocks.3.conv.weight"}
