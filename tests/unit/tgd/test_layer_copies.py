"""What is saved, copied or sent of an attached network is a plain network."""

from __future__ import annotations

import copy
import io
import multiprocessing
import pickle
import warnings

import pytest
import torch
from torch import nn

from tgd_cases import answer, bits, image, random_masks, same_bits, small, train
from tgdpet import tgd
from tgdpet.tgd.copies import ModuleHook

pytestmark = pytest.mark.usefixtures("one_thread")

MODES = {
    "routes": {"gather": "always"},
    "layer": {"flow": "layer", "gather": "never"},
    "statistics": {"batchnorm": "per_channel"},
    "example": {"example_input": image(1)},
}


@pytest.fixture
def model():
    return small()


def saved(net: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


WAYS = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
    "save": saved,
}


@pytest.mark.parametrize("mode", MODES)
def test_state_dict_is_that_of_the_plain_model(model, mode):
    plain = {name: value.clone() for name, value in model.state_dict().items()}
    with tgd.TGD(model, random_masks(model), **MODES[mode]):
        model(image())
        state = model.state_dict()
        assert list(state) == list(plain)
        assert small().load_state_dict(state)
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=True)
        assert list(loaded) == list(plain)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ran", [True, False])
def test_a_copy_is_a_plain_network(model, mode, way, ran):
    with tgd.TGD(model, random_masks(model), **MODES[mode]) as layer:
        if ran:
            train(model, layer, torch.optim.Adam(layer.parameters(), lr=0.01), steps=1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            twin = WAYS[way](model)
        assert same_bits(bits(twin), bits(model))
        assert torch.equal(twin.eval()(image()), model.eval()(image()))
        assert layer.unchanged()

    hooks = [
        hook
        for module in twin.modules()
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    ]
    assert all(isinstance(hook, ModuleHook) and hook.function is None for hook in hooks)
    assert not any(p._backward_hooks for p in twin.parameters())

    # In train mode its batch normalisation is its own again.
    before = bits(twin)
    twin.train()(image())
    now = bits(twin)
    assert {n for n in now if not torch.equal(now[n], before[n])} == {
        n for n in now if "running" in n or "tracked" in n
    }


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_may_have_a_tgd_of_its_own(model, way):
    masks = random_masks(model)
    with tgd.TGD(model, masks, gather="always"):
        twin = WAYS[way](model)
        before = bits(twin)
        with tgd.TGD(twin, masks, gather="always") as layer:
            assert set(layer._attachment.routes) == set(masks) - {
                n for n, m in masks.items() if m.all()
            }
            train(twin, layer, torch.optim.Adam(layer.parameters(), lr=0.01))
    assert not same_bits(bits(twin), before)


def test_a_copy_of_what_holds_the_layer_holds_the_same_layer(model):
    with tgd.TGD(model, random_masks(model)) as layer:
        holder = copy.deepcopy({"model": model, "layer": layer})
        assert holder["layer"] is layer
        assert holder["model"] is not model


def test_the_layer_itself_cannot_be_sent(model):
    with tgd.TGD(model, random_masks(model)) as layer, pytest.raises(TypeError, match="attach TGD"):
        pickle.dumps(layer)


@pytest.mark.slow
def test_it_goes_to_a_worker_process(model):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    with tgd.TGD(model, random_masks(model), gather="always"):
        model(image())
        worker = context.Process(target=answer, args=(model, queue))
        worker.start()
        found = queue.get(timeout=120)
        worker.join()
    assert found == float(model.eval()(image(1)).detach().sum())


def test_an_average_made_while_attached_averages(model):
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    masks, before = random_masks(model), bits(model)
    with tgd.TGD(model, masks) as layer:
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
        for step in range(3):
            train(model, layer, optimizer, steps=1, first=step)
            average.update_parameters(model)
        layer.restore(average.module)
        assert layer.unchanged(average.module)
    mask = masks["blocks.3.conv"]
    of_average = bits(average.module)["blocks.3.conv.weight"].reshape(len(mask), -1)
    of_start = before["blocks.3.conv.weight"].reshape(len(mask), -1)
    assert torch.equal(of_average[~mask], of_start[~mask])
    assert not torch.equal(of_average[mask], of_start[mask])
