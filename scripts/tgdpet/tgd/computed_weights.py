"""Which entries of a convolution's parameters make which output kernel, for plain weights and for
computed ones: weight_norm, spectral_norm, torch's parametrizations, pruning masks.

A computed kernel's own parameters are those that it reads and no useful kernel does. What a kernel
reads, its gradient shows, at the parameters' values and at random ones; and the useful kernels are
computed again with the others' parameters redrawn, as some computations hide from autograd.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from .copies import copied
from .tracing_modes import TraceError

COMPUTES_WEIGHT = (WeightNorm, SpectralNorm, prune.BasePruningMethod)  # hooks of the old kind
N_DRAWS = 3  # of parameters
SEED = 4


def is_computed(conv: nn.Module) -> bool:
    """Whether a convolution's weight or bias is made of other parameters."""
    own = conv._parameters
    bias_is_plain = conv.bias is None or own.get("bias") is not None
    return own.get("weight") is None or not bias_is_plain


def parameter_masks(name: str, conv: nn.Module, mask: Tensor) -> dict[str, Tensor]:
    """Parameter of the convolution -> its entries that make the targeted kernels and no other; the
    mask broadcasts over the parameter.

    `mask`: bool (out channels,), True = targeted. Raises ValueError with the convolution's name
    where they cannot be told.
    """
    if is_computed(conv):
        return _masks_of_computed(name, conv, mask)

    masks = {"weight": _rows_of_weight(conv, mask)}
    if conv.bias is not None:
        masks["bias"] = mask

    return masks


def weight_of(conv: nn.Module) -> Tensor:
    """A convolution's weight; one that is computed as in evaluation mode, and without a trace in
    the convolution (a power iteration moves buffers).
    """
    if not is_computed(conv):
        weight: Tensor = conv.weight  # type: ignore[assignment]
        return weight

    twin: Any = copied(conv).eval()
    for hook in _weight_hooks(twin):
        hook(twin, ())

    return twin.weight.detach()


def by_kernel(conv: Any, weight: Tensor) -> Tensor:
    """A convolution's weight as (out channels, values), groups and transposition undone."""
    if not getattr(conv, "transposed", False):
        return weight.flatten(1)

    # (C, N / G, ...) -> (G, C / G, N / G, ...) -> (G, N / G, C / G, ...)
    n_rows, n_columns, *kernel_size = weight.shape
    by_group = weight.reshape(conv.groups, n_rows // conv.groups, n_columns, *kernel_size)
    return by_group.movedim(2, 1).reshape(conv.out_channels, -1)


def _rows_of_weight(conv: Any, mask: Tensor) -> Tensor:
    """The entries of a plain weight that make the masked kernels."""
    n_rows, n_columns, *kernel_size = conv.weight.shape
    kernel_axes = [1] * len(kernel_size)

    if not getattr(conv, "transposed", False):
        return mask.reshape(n_rows, 1, *kernel_axes)

    # (C, N / groups, ...): the rows of group g hold its outputs.
    by_group = mask.reshape(conv.groups, 1, -1)
    of_rows = by_group.expand(conv.groups, n_rows // conv.groups, -1)
    return of_rows.reshape(n_rows, n_columns, *kernel_axes)


@torch.inference_mode(False)
@torch.enable_grad()
def _masks_of_computed(name: str, conv: nn.Module, mask: Tensor) -> dict[str, Tensor]:
    try:
        twin = copied(conv).eval().requires_grad_(False)
    except TraceError as error:
        raise ValueError(f"masks: {name}: {error}") from error

    parameters = {n: p for n, p in twin.named_parameters() if p.is_floating_point()}
    for parameter in parameters.values():
        parameter.requires_grad_(True)

    parts = ["weight"] if twin.bias is None else ["weight", "bias"]
    read_by_targets = {part: _nothing(parameters) for part in parts}
    read_by_useful = _nothing(parameters)

    for _ in _draws(parameters):
        for part in parts:
            _add_read(twin, part, mask, parameters, read_by_targets[part])
            _add_read(twin, part, ~mask, parameters, read_by_useful)

    own = _nothing(parameters)
    for read in read_by_targets.values():
        own_of_part = {n: read[n] & ~read_by_useful[n] for n in parameters}

        if bool(mask.any()) and not any(bool(e.any()) for e in own_of_part.values()):
            raise ValueError(
                f"masks: {name}: its weight is computed ({_how(conv)}) so that no kernel has "
                "parameters of its own; expected a mask of all kernels or of none"
            )

        own = {n: own[n] | own_of_part[n] for n in parameters}

    if not _useful_stay(twin, parameters, own, ~mask):
        raise ValueError(
            f"masks: {name}: its weight is computed ({_how(conv)}) in a way that autograd does not "
            "show; which parameters make which kernel cannot be told"
        )

    return {n: entries for n, entries in own.items() if bool(entries.any())}


def _nothing(parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    return {n: torch.zeros_like(p, dtype=torch.bool) for n, p in parameters.items()}


def _how(conv: nn.Module) -> str:
    """What computes the weight, for a message."""
    kinds = [type(hook).__name__ for hook in _weight_hooks(conv)]
    for parts in getattr(conv, "parametrizations", {}).values():
        kinds.extend(type(part).__name__ for part in parts)

    return ", ".join(dict.fromkeys(kinds)) or "by the module itself"


def _weight_hooks(conv: nn.Module) -> list[Any]:
    return [hook for hook in conv._forward_pre_hooks.values() if isinstance(hook, COMPUTES_WEIGHT)]


def _kernels(conv: Any, part: str) -> Tensor:
    """Weight or bias as they are computed now, (out channels, values)."""
    for hook in _weight_hooks(conv):
        hook(conv, ())

    if part == "bias":
        return conv.bias[:, None]

    return by_kernel(conv, conv.weight)


def _draws(parameters: Mapping[str, nn.Parameter]) -> Iterator[None]:
    """The parameters' own values, then random ones near them, then their own again."""
    generator = torch.Generator().manual_seed(SEED)
    own_values = {name: p.detach().clone() for name, p in parameters.items()}
    yield

    for _ in range(N_DRAWS):
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(_near(own_values[name], generator))
        yield

    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(own_values[name])


def _near(values: Tensor, generator: torch.Generator) -> Tensor:
    """Values that differ from the given ones everywhere, by about half their size."""
    noise = torch.rand(values.shape, generator=generator).to(values)
    size = values.abs().mean().clamp_min(0.1)
    return values * (1 + 0.5 * noise) + 0.1 * size * (0.5 + noise)


def _add_read(
    conv: nn.Module,
    part: str,
    rows: Tensor,
    parameters: Mapping[str, nn.Parameter],
    read: Mapping[str, Tensor],
) -> None:
    """Mark what the weight (or bias) of some kernels reads."""
    kernels = _kernels(conv, part)[rows]
    if not kernels.numel() or not kernels.requires_grad:
        return

    generator = torch.Generator().manual_seed(SEED)
    coefficients = torch.randn(kernels.shape, generator=generator).to(kernels)
    gradients = torch.autograd.grad(
        (kernels * coefficients).sum(), list(parameters.values()), allow_unused=True
    )

    for name, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            # A NaN says nothing, so it may have been read.
            read[name].logical_or_(gradient != 0)


@torch.no_grad()
def _useful_stay(
    conv: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    own: Mapping[str, Tensor],
    useful: Tensor,
) -> bool:
    """Whether the useful kernels keep their bits when the targets' own parameters are redrawn."""
    parts = ["weight"] if conv.bias is None else ["weight", "bias"]
    before = [_kernels(conv, part)[useful] for part in parts]
    generator = torch.Generator().manual_seed(SEED)

    for name, entries in own.items():
        parameter = parameters[name]
        parameter.copy_(torch.where(entries, _near(parameter, generator), parameter))

    for part, old in zip(parts, before, strict=True):
        new = _kernels(conv, part)[useful]
        both_nan = old.isnan() & new.isnan()
        if not bool(((old == new) | both_nan).all()):
            return False

    return True
