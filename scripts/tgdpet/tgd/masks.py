"""From masks of output channels to the entries of parameters that may be updated, and bitwise
comparison.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .layer_kinds import CONVS, NORM_LAYERS

INTEGER_OF_SIZE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # bytes


@dataclass(frozen=True)
class TargetedEntries:
    """`mask` broadcasts over a parameter, True = may be updated; `count` is the number of such
    entries.
    """

    mask: Tensor
    count: int


def targeted_entries(
    model: nn.Module, channels: Mapping[str, Tensor], *, include_candidates: bool = False
) -> dict[str, TargetedEntries]:
    """Parameter name -> entries that may be updated, for convolutions and norm layers with a mask
    of output channels.

    A parameter that several masked modules share is updated only where all of them allow it.
    `include_candidates` adds norm layers that may turn out to follow a masked convolution, with
    nothing to update yet.
    """
    targeted = {name: mask for name, mask in channels.items() if bool(mask.any())}
    masks: dict[nn.Parameter, Tensor] = {}

    for name, channel_mask in targeted.items():
        module = model.get_submodule(name)
        for parameter, entries in _entries(module, channel_mask):
            entries = entries.to(parameter.device)
            if parameter in masks:
                entries = masks[parameter] & entries
            masks[parameter] = entries

    if include_candidates:
        sizes = {len(channel_mask) for channel_mask in targeted.values()}
        for module in model.modules():
            for parameter in _affine_parameters(module):
                if len(parameter) in sizes and parameter not in masks:
                    nothing = torch.zeros_like(parameter, dtype=torch.bool)
                    masks[parameter] = nothing

    by_name = {}
    for name, parameter in model.named_parameters():
        if parameter not in masks:
            continue
        mask = masks[parameter]
        count = int(mask.expand_as(parameter).sum())
        by_name[name] = TargetedEntries(mask, count)

    return by_name


def checked_mask(model: nn.Module, name: str, mask: Tensor) -> Tensor:
    """A copy of `mask` on the device of the convolution it is for; ValueError where it does not fit
    that module.
    """
    modules = dict(model.named_modules())
    convs = {n: module for n, module in modules.items() if isinstance(module, CONVS)}
    if name not in convs:
        close = difflib.get_close_matches(name, convs, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"masks: {name!r} is no convolution of the model{hint}")

    conv: Any = convs[name]
    fits = tuple(mask.shape) == (conv.out_channels,)
    if mask.dtype != torch.bool or not fits:
        raise ValueError(
            f"masks: {name}: expected {conv.out_channels} booleans (out channels), "
            f"got {mask.dtype} {tuple(mask.shape)}"
        )

    weight = conv._parameters.get("weight")
    if not isinstance(weight, nn.Parameter):
        raise ValueError(
            f"masks: {name}: its weight is computed by a parametrization, "
            "not a parameter of its own"
        )

    own_copy = mask.detach().clone()
    return own_copy.to(weight.device)


def accumulate(previous: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The union of two rounds' masks: what was retrained once stays open (TGD^n, the end of section
    2 of the paper).

    Module name -> bool (out channels,); a module that only one round names keeps that round's mask.
    Raises ValueError where the two do not fit together.
    """
    union = {name: mask.detach().clone() for name, mask in previous.items()}

    for name, mask in new.items():
        nothing = torch.zeros_like(mask, dtype=torch.bool)
        old = union.get(name, nothing)

        for given in (old, mask):
            if given.dtype != torch.bool or given.shape != mask.shape:
                raise ValueError(
                    f"masks: {name}: expected {len(mask)} booleans in both rounds, "
                    f"got {given.dtype} {tuple(given.shape)}"
                )

        union[name] = old.to(mask.device) | mask

    return union


def bits_equal(a: Tensor, b: Tensor, targets: Tensor | None = None) -> bool:
    """Whether two tensors hold the same bits outside `targets`; -0.0 differs from 0.0, a NaN equals
    itself.
    """
    integer = INTEGER_OF_SIZE[a.element_size()]
    bits_a = a.detach().view(integer)
    bits_b = b.detach().view(integer)

    same = bits_a == bits_b
    if targets is not None:
        same = same | targets

    return bool(same.all())


def _entries(module: nn.Module, channel_mask: Tensor) -> list[tuple[nn.Parameter, Tensor]]:
    """A module's parameters, each with the mask of its entries that make the masked channels."""
    if not isinstance(module, CONVS):
        return [(parameter, channel_mask) for parameter in _affine_parameters(module)]

    weight: Any = module.weight
    n_rows, n_columns, *kernel_size = weight.shape
    kernel_axes = [1] * len(kernel_size)

    if getattr(module, "transposed", False):
        # (C, N / groups, ...): the rows of group g hold its outputs.
        n_groups: Any = module.groups
        by_group = channel_mask.reshape(n_groups, 1, -1)
        of_rows = by_group.expand(n_groups, n_rows // n_groups, -1)
        of_weight = of_rows.reshape(n_rows, n_columns, *kernel_axes)
    else:
        of_weight = channel_mask.reshape(n_rows, 1, *kernel_axes)

    entries = [(weight, of_weight)]
    bias: Any = module.bias
    if bias is not None:
        entries.append((bias, channel_mask))

    return entries


def _affine_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Gamma and beta of a norm layer that has them; nothing of any other module."""
    if not isinstance(module, NORM_LAYERS):
        return []

    affine = (module.weight, module.bias)
    return [parameter for parameter in affine if parameter is not None]
