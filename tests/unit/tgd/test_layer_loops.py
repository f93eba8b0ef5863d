"""Whoever steps an optimizer, in whatever loop, useful kernels keep their bits."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from tgd_cases import bits, image, kept, moved, network, random_masks, small
from tgdpet import tgd

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIMIZERS = {
    name: kind
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type)
    and issubclass(kind, torch.optim.Optimizer)
    and name not in ("Optimizer", "SparseAdam", "LBFGS", "Muon")
}


@pytest.fixture
def model():
    return small()


def loss_of(model: nn.Module, seed: int = 0) -> torch.Tensor:
    return (model(image(seed=seed)) ** 2).mean()


def check(model, before, masks, layer=None):
    if layer is not None:
        assert layer.unchanged()
    assert kept(model, before, masks)
    assert moved(model, before, masks)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_of_torch_steps_by_itself(model, name):
    before, masks = bits(model), random_masks(model)
    with tgd.TGD(model, masks) as layer:
        optimizer = OPTIMIZERS[name](model.parameters(), lr=0.01)
        for step in range(2):
            model.train()
            optimizer.zero_grad()
            loss_of(model, step).backward()
            optimizer.step()
            assert layer.unchanged()
    check(model, before, masks)


def test_the_matrix_optimizer_of_torch():
    """Muon takes matrices; it mixes the rows of what it moves."""
    muon = getattr(torch.optim, "Muon", None)
    if muon is None:
        pytest.skip("this torch has no Muon")
    net = nn.Sequential(nn.Conv1d(3, 6, 1), nn.ReLU(), nn.Flatten(), nn.Linear(96, 4))
    net[0] = nn.Conv1d(3, 6, 1)
    before = bits(net)
    mask = torch.arange(6) % 2 == 0
    with tgd.TGD(net, {"0": mask}):
        matrix = net[0].weight
        with pytest.raises(ValueError, match="2D"):
            muon([matrix], lr=0.1)
        optimizer = muon([net[3].weight], lr=0.1, weight_decay=0.1)
        net(torch.randn(2, 3, 16)).sum().backward()
        net[3].weight.grad = torch.ones_like(net[3].weight)
        optimizer.step()
    now = bits(net)
    assert all(torch.equal(now[n], before[n]) for n in now)


def test_lbfgs_evaluates_several_times_a_step(model):
    before, masks = bits(model), random_masks(model)
    with tgd.TGD(model, masks) as layer:
        optimizer = torch.optim.LBFGS(layer.parameters(), lr=0.1, max_iter=4)

        def closure():
            optimizer.zero_grad()
            loss = loss_of(model)
            loss.backward()
            return loss

        losses = [float(optimizer.step(closure).detach()) for _ in range(2)]
        assert losses[1] < losses[0]
        check(model, before, masks, layer)


def test_a_scaler_several_optimizers_and_accumulated_gradients(model):
    before, masks = bits(model), random_masks(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with tgd.TGD(model, masks) as layer:
        parameters = list(model.parameters())
        optimizers = [
            torch.optim.AdamW(parameters[:10], lr=0.01, fused=True),
            torch.optim.SGD(parameters[10:], lr=0.01, momentum=0.9, foreach=True),
        ]
        for step in range(6):
            with torch.autocast("cpu", torch.bfloat16):
                loss = loss_of(model, step) / 2
            scaler.scale(loss).backward()
            if step % 2:
                for optimizer in optimizers:
                    scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                for optimizer in optimizers:
                    scaler.step(optimizer)
                    assert layer.unchanged()
                    optimizer.zero_grad()
                scaler.update()
    check(model, before, masks)


def test_an_optimizer_of_another_network_is_left_alone(model):
    other = nn.Conv2d(3, 4, 3)
    start = other.weight.detach().clone()
    with tgd.TGD(model, random_masks(model)) as layer:
        layer._attachment.state.restore = None  # would fail if it were called
        optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
        other(image()).sum().backward()
        optimizer.step()
    assert not torch.equal(other.weight, start)


def test_two_networks_at_once():
    models = [small(), network("separable")]
    masks = [random_masks(model) for model in models]
    before = [bits(model) for model in models]
    parameters = [p for model in models for p in model.parameters()]
    with tgd.TGD(models[0], masks[0]), tgd.TGD(models[1], masks[1]):
        optimizer = torch.optim.AdamW(parameters, lr=0.01)
        for step in range(2):
            optimizer.zero_grad()
            sum(loss_of(model, step) for model in models).backward()
            optimizer.step()
    for model, start, mask in zip(models, before, masks, strict=True):
        check(model, start, mask)


def test_after_the_end_steps_move_everything(model):
    masks = random_masks(model)
    with tgd.TGD(model, masks):
        loss_of(model).backward()
    before = bits(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    optimizer.zero_grad()
    loss_of(model).backward()
    optimizer.step()
    now = bits(model)
    names = {n for n, _ in model.named_parameters()}
    assert all(not torch.equal(now[n], before[n]) for n in names)


def test_a_layer_that_nobody_holds_any_more_leaves_no_hook():
    import gc

    hooks = sys.modules["torch.optim.optimizer"]._global_optimizer_post_hooks
    n_before = len(hooks)
    model = small()
    tgd.TGD(model, random_masks(model))
    assert len(hooks) == n_before + 1
    del model
    gc.collect()
    assert len(hooks) == n_before


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("part", ["whole", "inside", "in place"])
def test_compiled(model, part):
    """Whole or by parts, before or after; the backend is the one without a C++ compiler."""
    torch.compiler.reset()
    masks = random_masks(model)
    before = bits(model)
    target = model
    if part == "whole":
        target = torch.compile(model, backend="aot_eager")
        masks = {f"_orig_mod.{name}": mask for name, mask in masks.items()}
    elif part == "inside":
        model.blocks[3] = torch.compile(model.blocks[3], backend="aot_eager")
        masks = {
            name.replace("blocks.3.", "blocks.3._orig_mod."): mask for name, mask in masks.items()
        }
    else:
        model.blocks[3].compile(backend="aot_eager")

    scores = tgd.score_kernels(target, image(1))
    assert set(masks) == set(scores)
    with tgd.TGD(target, masks, example_input=image(1)) as layer:
        optimizer = torch.optim.AdamW(layer.parameters(), lr=0.01)
        for step in range(3):
            optimizer.zero_grad()
            loss_of(target, step).backward()
            optimizer.step()
        assert layer.unchanged()
    if part == "inside":
        model.blocks[3] = model.blocks[3]._orig_mod
    masks = {name.replace("_orig_mod.", ""): mask for name, mask in masks.items()}
    check(model, before, masks)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", ["Adam", "SGD"])
def test_a_compiled_optimizer(model, kind):
    torch.compiler.reset()
    before, masks = bits(model), random_masks(model)
    with tgd.TGD(model, masks, example_input=image(1)) as layer:
        optimizer = getattr(torch.optim, kind)(layer.parameters(), lr=0.01, weight_decay=0.1)
        step_of = torch.compile(optimizer.step, backend="aot_eager")
        for step in range(2):
            optimizer.zero_grad()
            loss_of(model, step).backward()
            step_of()
            assert layer.unchanged()
    check(model, before, masks)


def test_compiled_after_it_attached_and_without_an_example(model):
    torch.compiler.reset()
    before, masks = bits(model), random_masks(model)
    with tgd.TGD(model, masks, example_input=image(1)):
        compiled = torch.compile(model, backend="aot_eager")
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        for step in range(2):
            optimizer.zero_grad()
            loss_of(compiled, step).backward()
            optimizer.step()
    check(model, before, masks)


def test_the_learning_rate_may_move_in_a_schedule_and_groups_be_added(model):
    before, masks = bits(model), random_masks(model)
    with tgd.TGD(model, masks):
        parameters = list(model.parameters())
        optimizer = torch.optim.AdamW(parameters[:4], lr=0.01)
        optimizer.add_param_group({"params": parameters[4:], "lr": 0.02})
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)
        for step in range(3):
            optimizer.zero_grad()
            loss_of(model, step).backward()
            optimizer.step()
            scheduler.step()
    check(model, before, masks)


@pytest.mark.slow
def test_two_processes(root, tmp_path):
    program = root / "tests/helpers/tgd_two_processes.py"
    processes = [
        subprocess.Popen(
            [sys.executable, program, str(tmp_path / "meeting"), str(rank)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output
        assert "useful kernels kept" in output
