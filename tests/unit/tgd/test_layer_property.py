"""On any network, with any masks, any optimizer and any loop: what no mask opens keeps its bits.

Judged without the library's own bookkeeping: by the kernels that convolutions compute with, by
every buffer, and by what hangs on the model afterwards.
"""

from __future__ import annotations

import copy
import gc
from typing import Any

import pytest
import torch
from torch import nn

from random_networks import WIDTH, Case, case, convolutions, image
from tgd_cases import bits, same_bits, trace
from tgdpet import tgd
from tgdpet.tgd import attachment, kept_state, targets

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is in the extra 'dev'")
st = hypothesis.strategies

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:mypy_extensions"),  # when hypothesis prints a failure
]

DECAY = {"weight_decay": 0.1}
OPTIMIZERS = {
    "SGD": {"lr": 0.05, "momentum": 0.9, **DECAY},
    "Adam": {"lr": 0.01, **DECAY},
    "AdamW": {"lr": 0.01, **DECAY},
    "NAdam": {"lr": 0.01, **DECAY},
    "RAdam": {"lr": 0.01, **DECAY},
    "RMSprop": {"lr": 0.01, **DECAY},
    "Adagrad": {"lr": 0.01, **DECAY},
    "Adadelta": {"lr": 0.5, **DECAY},
    "Adamax": {"lr": 0.01, **DECAY},
    "ASGD": {"lr": 0.01, **DECAY},
    "Adafactor": {"lr": 0.01, **DECAY},
    "Rprop": {"lr": 0.01},
    "LBFGS": {"lr": 0.1, "max_iter": 2},
}
N_NETWORKS = 60
MOST_NETWORKS_TO_A_FAULT = 400


class Draws:
    """Choices that hypothesis makes."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def of(self, *values: Any) -> Any:
        return values[self.data.draw(st.integers(0, len(values) - 1))]


def loss_of(model: nn.Module, step: int) -> torch.Tensor:
    return (model(image(step)) ** 2).mean()


def plain(model, optimizer, attached, step):
    model.train()

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model, step)
        loss.backward()
        return loss

    optimizer.step(closure)


def accumulated(model, optimizer, attached, step):
    model.train()
    optimizer.zero_grad()
    for part in range(2):
        loss_of(model, 10 * step + part).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step(lambda: loss_of(model, step))


def scaled(model, optimizer, attached, step):
    if isinstance(optimizer, torch.optim.LBFGS):
        return plain(model, optimizer, attached, step)
    model.train()
    optimizer.zero_grad()
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(model, step)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    return scaler.update()


def by_the_alias(model, optimizer, attached, step):
    if isinstance(optimizer, torch.optim.LBFGS):
        return plain(model, optimizer, attached, step)
    model.eval()
    optimizer.zero_grad()
    loss_of(model, step).backward()
    return attached.step(optimizer)


LOOPS = (plain, plain, accumulated, scaled, by_the_alias)


def kernels(model: nn.Module) -> dict[str, torch.Tensor]:
    """What each kernel multiplies and adds, as the network computes it in evaluation mode."""
    found = {}
    hooks = []

    def note(name: str, conv: Any) -> None:
        weight = conv.weight.detach()
        if isinstance(conv, nn.ConvTranspose2d):
            by_group = weight.reshape(conv.groups, -1, *weight.shape[1:])
            weight = by_group.transpose(1, 2).flatten(0, 1)
        weight = weight.flatten(1)
        bias = torch.zeros(len(weight)) if conv.bias is None else conv.bias.detach()
        found[name] = torch.cat([weight, bias[:, None]], 1).clone()

    twin = copy.deepcopy(model) if not has_old_norms(model) else model
    modes = [module.training for module in twin.modules()]
    twin.eval()
    for name, conv in convolutions(twin):
        hooks.append(conv.register_forward_hook(lambda m, x, y, n=name: note(n, m)))
    with torch.no_grad():
        twin(image(0))
    for hook in hooks:
        hook.remove()
    for module, mode in zip(twin.modules(), modes, strict=True):
        module.training = mode
    return found


def has_old_norms(model: nn.Module) -> bool:
    """Their computed weight cannot be copied by deepcopy; evaluation mode moves nothing."""
    return any(hasattr(module, "weight_u") for module in model.modules())


def buffers(model: nn.Module, open_convs: set[nn.Module], batchnorm: str) -> dict[str, Any]:
    """Those that are to stay."""
    found = {}
    for name, module in model.named_modules():
        follows = isinstance(module, (nn.BatchNorm2d, nn.InstanceNorm2d)) and batchnorm == "train"
        if module not in open_convs and not follows:
            for key, value in module._buffers.items():
                found[f"{name}.{key}"] = None if value is None else value.clone()
    return found


@pytest.fixture(autouse=True)
def no_others_hooks() -> None:
    """A TGD that another test did not detach takes its global hooks along when it is collected, not
    in the middle of this one.
    """
    gc.collect()


def check(drawn: Draws, seed: int) -> None:
    """The property, on one network."""
    made: Case = case(drawn, seed)
    model, masks = made.model, made.masks
    kind = drawn.of(*OPTIMIZERS)
    loop = drawn.of(*LOOPS)
    options = {
        "flow": drawn.of("parameter", "layer"),
        "gather": drawn.of("auto", "always", "never"),
        "batchnorm": drawn.of("eval", "train"),
        "example_input": drawn.of(None, image(0)),
    }
    if drawn.of(*[False] * 9, True):
        masks = {**masks, "no convolution": torch.ones(1, dtype=torch.bool)}

    in_training = drawn.of(True, False)
    model.train(in_training)
    whole = {m for n, mask in masks.items() if mask.all() for m in _parts(model, n)}
    loss_of(model, 0)  # computed weights are there
    start = bits(model)
    flags = trace(model)
    kernels_before = kernels(model)
    buffers_before = buffers(model, whole, options["batchnorm"])

    try:
        attached = tgd.TGD(model, masks, **options)
    except ValueError as error:
        # Refused by name, and nothing happened.
        assert str(error).startswith("masks: "), error
        assert trace(model) == flags
        assert same_bits(bits(model), start)
        return

    with attached:
        optimizer = getattr(torch.optim, kind)(model.parameters(), **OPTIMIZERS[kind])
        moves = attached.counts()["parameters_retrained"] > 0
        if moves:
            for step in range(2):
                loop(model, optimizer, attached, step)
                assert attached.unchanged()

    model.train(in_training)  # the loop's own doing
    assert trace(model) == flags
    now = bits(model)
    _check_parts(model, masks, (kernels_before, start))
    buffers_now = buffers(model, whole, options["batchnorm"])
    for name, before in buffers_before.items():
        assert (before is None) == (buffers_now[name] is None), name
        assert before is None or torch.equal(buffers_now[name], before), name

    learns = kind not in ("LBFGS", "Rprop")  # these two move by the gradient alone
    if moves and learns:
        assert any(not torch.equal(now[n], start[n]) for n, _ in model.named_parameters())


def _parts(model: nn.Module, name: str) -> list[nn.Module]:
    modules = dict(model.named_modules())
    return list(modules[name].modules()) if name in modules else []


def _check_parts(model: nn.Module, masks: dict[str, torch.Tensor], before: Any) -> None:
    """Useful kernels compute with the same numbers, and channels of norms behind them do too."""
    kernels_before, start = before
    nothing = torch.zeros(WIDTH, dtype=torch.bool)

    for name, found in kernels(model).items():
        mask = masks.get(name, nothing[:1].expand(len(found)))
        same = (found == kernels_before[name]).all(1)
        assert bool(same[~mask].all()), f"kernels of {name}"

    now = bits(model)
    for i, block in enumerate(model):
        for key, _ in getattr(block, "norm", nn.Identity()).named_parameters():
            name = f"{i}.norm.{key}"
            same = (now[name] == start[name]).reshape(WIDTH, -1).all(1)
            assert bool(same[~masks.get(f"{i}.conv", nothing)].all()), name


@hypothesis.settings(
    max_examples=N_NETWORKS, deadline=None, derandomize=True, database=None, print_blob=False
)
@hypothesis.given(st.data(), st.integers(0, 10**6))
def test_what_no_mask_opens_keeps_its_bits(data, seed):
    check(Draws(data), seed)


def fails_somewhere() -> bool:
    """Whether the property fails for any of many networks."""

    @hypothesis.settings(
        max_examples=MOST_NETWORKS_TO_A_FAULT,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[hypothesis.Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(st.data(), st.integers(0, 10**6))
    def search(data, seed):
        check(Draws(data), seed)

    try:
        search()
    except (AssertionError, RuntimeError, ValueError, TypeError):
        return True
    return False


def without_buffers(monkeypatch):
    monkeypatch.setattr(kept_state.KeptState, "restore_buffers", lambda *args, **options: None)
    monkeypatch.setattr(kept_state, "_same", lambda *args: True)


def without_owners(monkeypatch):
    """An owner without a mask has no say, as if a parameter were its own."""
    claims = targets._claims

    def of_masks(model, channels):
        found = list(claims(model, channels))
        allowed = {id(tensor) for _, tensor, mask in found if mask is not None}
        return [c for c in found if c[2] is not None or id(c[1]) not in allowed]

    monkeypatch.setattr(targets, "_claims", of_masks)


def without_memory(monkeypatch):
    monkeypatch.setattr(targets, "_place", id)
    monkeypatch.setattr(targets, "_refuse_overlaps", lambda *args: None)


def without_flags(monkeypatch):
    required = torch.nn.Parameter.requires_grad_
    monkeypatch.setattr(
        torch.nn.Parameter, "requires_grad_", lambda p, on=True: required(p, on and p.requires_grad)
    )


def without_care(monkeypatch):
    """Rows of whatever parameters a computed weight has."""

    def rows(name, conv, mask):
        return {
            n: mask.reshape(-1, *[1] * (p.ndim - 1))
            for n, p in conv.named_parameters()
            if p.ndim and len(p) == len(mask)
        }

    monkeypatch.setattr(targets, "parameter_masks", rows)


def without_clean_up(monkeypatch):
    monkeypatch.setattr(attachment.Attachment, "release", lambda self: None)


def without_step_hooks(monkeypatch):
    monkeypatch.setattr(attachment.step_hooks, "listen", lambda listener: [])


FIXES = [
    without_buffers,
    without_owners,
    without_memory,
    without_flags,
    without_care,
    without_clean_up,
    without_step_hooks,
]


@pytest.mark.parametrize("without", FIXES)
def test_the_property_finds_each_fault_when_its_fix_is_taken_out(monkeypatch, without):
    without(monkeypatch)
    assert fails_somewhere()
