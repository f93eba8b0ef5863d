"""From masks of output channels to the entries of parameters that may move, and bitwise
comparison.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .connectivity import BATCHNORM_LAYERS, CONVS

INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class Movable:
    """`mask` broadcasts over the parameter, True = may move; `count` is the number of such
    entries.
    """

    mask: Tensor
    count: int


def movable(
    model: nn.Module, channels: Mapping[str, Tensor], *, spare: bool = False
) -> dict[str, Movable]:
    """Parameter name -> entries that may move, for convolutions and norm layers with a mask of
    output channels.

    A parameter that several masked modules share moves only where all of them allow it. `spare`
    adds norm layers that may turn out to follow a masked convolution, with nothing to move yet.
    """
    modules = dict(model.named_modules())
    found: dict[int, Tensor] = {}
    for name, mask in channels.items():
        if not bool(mask.any()):
            continue
        for parameter, entry in _entries(modules[name], mask):
            entry = entry.to(parameter.device)
            found[id(parameter)] = found[id(parameter)] & entry if id(parameter) in found else entry
    if spare:
        sizes = {len(m) for m in channels.values() if bool(m.any())}
        for module in modules.values():
            for parameter in _affine(module):
                if len(parameter) in sizes:
                    found.setdefault(id(parameter), torch.zeros_like(parameter, dtype=torch.bool))
    out = {}
    for name, parameter in model.named_parameters():
        if id(parameter) in found:
            mask = found[id(parameter)]
            out[name] = Movable(mask, int(mask.expand_as(parameter).sum()))
    return out


def checked(model: nn.Module, name: str, mask: Tensor) -> Tensor:
    """A copy of `mask` on the device of the convolution it is for; ValueError where it does not fit
    that module.
    """
    modules = dict(model.named_modules())
    if not isinstance(modules.get(name), CONVS):
        close = difflib.get_close_matches(
            name, [n for n, m in modules.items() if isinstance(m, CONVS)], n=1
        )
        raise ValueError(
            f"masks: {name!r} is no convolution of the model"
            + (f"; did you mean {close[0]!r}?" if close else "")
        )
    conv: Any = modules[name]
    if mask.dtype != torch.bool or tuple(mask.shape) != (conv.out_channels,):
        raise ValueError(
            f"masks: {name}: expected {conv.out_channels} booleans (out channels), got {mask.dtype} {tuple(mask.shape)}"
        )
    if not isinstance(conv._parameters.get("weight"), nn.Parameter):
        raise ValueError(
            f"masks: {name}: its weight is computed by a parametrization, not a parameter of its own"
        )
    return mask.detach().clone().to(conv.weight.device)


def accumulate(previous: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The union of two rounds' masks: what was retrained once stays open (TGD^n, the end of section
    2 of the paper).

    Module name -> bool (out channels,); a module that only one round names keeps that round's mask.
    Raises ValueError where the two do not fit together.
    """
    out = {n: m.detach().clone() for n, m in previous.items()}
    for name, mask in new.items():
        old = out.get(name, torch.zeros_like(mask, dtype=torch.bool))
        for given in (old, mask):
            if given.dtype != torch.bool or given.shape != mask.shape:
                raise ValueError(
                    f"masks: {name}: expected {len(mask)} booleans in both rounds, "
                    f"got {given.dtype} {tuple(given.shape)}"
                )
        out[name] = old.to(mask.device) | mask
    return out


def bits_equal(a: Tensor, b: Tensor, moves: Tensor | None = None) -> bool:
    """Whether two tensors hold the same bits outside `moves`; -0.0 differs from 0.0, a NaN equals
    itself.
    """
    whole = INTEGERS[a.element_size()]
    same = a.detach().view(whole) == b.detach().view(whole)
    return bool((same if moves is None else same | moves).all())


def _entries(module: nn.Module, mask: Tensor) -> list[tuple[nn.Parameter, Tensor]]:
    if not isinstance(module, CONVS):
        return [(p, mask) for p in _affine(module)]
    weight: Any = module.weight
    if getattr(
        module, "transposed", False
    ):  # (C, N / groups, ...): rows of group g hold its outputs
        groups: Any = module.groups
        entry = mask.reshape(groups, 1, -1).expand(groups, weight.shape[0] // groups, -1)
        entry = entry.reshape(weight.shape[0], weight.shape[1], *[1] * (weight.ndim - 2))
    else:
        entry = mask.reshape(-1, *[1] * (weight.ndim - 1))
    bias: Any = module.bias
    return [(weight, entry)] + ([(bias, mask)] if bias is not None else [])


def _affine(module: nn.Module) -> list[nn.Parameter]:
    if not isinstance(
        module,
        (*BATCHNORM_LAYERS, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
    ):
        return []
    return [p for p in (module.weight, module.bias) if p is not None]
