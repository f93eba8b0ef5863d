"""Masks of output channels: checked, united over rounds; and bitwise comparison."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .layer_kinds import CONVS

INTEGER_OF_SIZE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # bytes


def checked_mask(model: nn.Module, name: str, mask: Tensor) -> Tensor:
    """A copy of `mask` on the device of the convolution it is for; ValueError where it does not fit
    that module.
    """
    modules = dict(model.named_modules())
    convs = {n: module for n, module in modules.items() if isinstance(module, CONVS)}
    if name not in convs:
        raise ValueError(f"masks: {name!r} is no convolution of the model{_hint(model, name)}")

    conv: Any = convs[name]
    fits = tuple(mask.shape) == (conv.out_channels,)
    if mask.dtype != torch.bool or not fits:
        raise ValueError(
            f"masks: {name}: expected {conv.out_channels} booleans (out channels), "
            f"got {mask.dtype} {tuple(mask.shape)}"
        )

    own_copy = mask.detach().clone()
    return own_copy.to(next(conv.parameters()).device)


def _hint(model: nn.Module, name: str) -> str:
    """What may have been meant by a name that is no convolution's."""
    modules = dict(model.named_modules())
    aliases = dict(model.named_modules(remove_duplicate=False))

    if name in modules:
        return f", but {type(modules[name]).__name__}"

    for own_name, module in modules.items():
        if module is aliases.get(name):
            return f": it is {own_name!r} under another name"

    convs = [n for n, module in modules.items() if isinstance(module, CONVS)]
    close = difflib.get_close_matches(name, convs, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


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


def mask_table(
    masks: Mapping[str, Tensor],
    scores: Mapping[str, Tensor] | None = None,
    alive: Mapping[str, Tensor] | None = None,
) -> str:
    """A table to read: module, kernels, how many are retrained, how many of these are alive, and
    the range of KSE; "-" where something is not known.
    """
    rows = [("module", "kernels", "retrained", "of these alive", "KSE")]

    for name, mask in masks.items():
        of_these_alive = "-"
        if alive and name in alive:
            of_these_alive = str(int((mask.cpu() & alive[name]).sum()))

        kse_range = "-"
        if scores and name in scores:
            low, high = torch.as_tensor(scores[name]).aminmax()
            kse_range = f"{float(low):.2f} to {float(high):.2f}"

        rows.append((name, str(len(mask)), str(int(mask.sum())), of_these_alive, kse_range))

    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        first = row[0].ljust(widths[0])
        others = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([first, *others]))

    return "\n".join(lines)


def bits_equal(a: Tensor, b: Tensor, targets: Tensor | None = None) -> bool:
    """Whether two tensors hold the same bits outside `targets`; -0.0 differs from 0.0, a NaN equals
    itself.
    """
    same = _integers(a) == _integers(b)
    if a.is_complex():
        same = same.all(dim=-1)

    if targets is not None:
        same = same | targets

    return bool(same.all())


def _integers(values: Tensor) -> Tensor:
    """The bits as integers; of complex numbers with a last axis (real, imaginary)."""
    values = values.detach()
    if values.is_complex():
        values = torch.view_as_real(values)

    return values.view(INTEGER_OF_SIZE[values.element_size()])
