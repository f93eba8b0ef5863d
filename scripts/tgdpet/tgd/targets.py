"""From masks of output channels to the entries of parameters that may be updated.

A parameter has owners: the convolutions and norm layers that hold it, and any other module that
does, also where two parameters lie in one place of memory. An entry may be updated where every
owner's mask allows it; an owner without a mask allows nothing.
"""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

from .computed_weights import is_computed, parameter_masks
from .layer_kinds import CONVS, NORM_LAYERS

# What cannot be attached to, by class, and why.
WRAPPERS = {
    "DistributedDataParallel": "attach TGD before DistributedDataParallel wraps the network: it "
    "counts then and there which parameters have gradients",
    "FullyShardedDataParallel": "expected fully_shard (FSDP2), got FullyShardedDataParallel, which "
    "melts kernels into one flat parameter",
    "FSDPModule": "attach TGD before fully_shard: a sharded network cannot be copied, and so not "
    "be traced",
}
Claim = tuple[str, Tensor, Tensor | None]  # name, tensor, what its owner allows


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

    `include_candidates` adds norm layers that may turn out to follow a masked convolution, with
    nothing to update yet. Raises ValueError where a convolution's parameters cannot be told apart,
    or where parameters overlap in memory.
    """
    allowed_at: dict[Any, Tensor | None] = {}
    claims = list(_claims(model, channels))

    for _, tensor, allowed in claims:
        place = _place(tensor)
        before = allowed_at.get(place, allowed)
        if before is None or allowed is None:
            allowed_at[place] = None
        else:
            allowed_at[place] = before & allowed.to(tensor.device)

    candidates = _candidates(model, channels) if include_candidates else set()
    by_name = {}

    for name, parameter in model.named_parameters():
        mask = allowed_at[_place(parameter)]
        if mask is not None:
            mask = mask.to(parameter.device)
            count = int(mask.expand_as(parameter).sum())
        else:
            mask = torch.zeros_like(parameter, dtype=torch.bool)
            count = 0

        if count or parameter in candidates:
            by_name[name] = TargetedEntries(mask, count)

    _refuse_overlaps(claims, by_name)
    return by_name


def check_state(model: nn.Module) -> None:
    """ValueError naming the first parameter or buffer whose bits cannot be kept."""
    for name, module in model.named_modules():
        for kind in type(module).__mro__:
            if kind.__name__ in WRAPPERS:
                reason = WRAPPERS[kind.__name__]
                raise ValueError(f"module {name or type(module).__name__!r}: {reason}")

    if _is_wrapped(model):
        reason = WRAPPERS["DistributedDataParallel"]
        raise ValueError(f"module {type(model).__name__!r}: {reason}")

    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise ValueError(f"{name!r} is not initialised yet; run the network once before")
        if tensor.is_inference():
            raise ValueError(
                f"{name!r} was made in inference mode and cannot be trained; "
                "load the network outside torch.inference_mode()"
            )
        if tensor.is_meta:
            raise ValueError(f"{name!r} has no data (device meta)")


def _is_wrapped(model: nn.Module) -> bool:
    """Whether a DistributedDataParallel holds parameters of the model, which do not show it."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return False

    own = {id(parameter) for parameter in model.parameters()}

    def wraps(thing: Any) -> bool:
        is_wrapper = issubclass(type(thing), nn.parallel.DistributedDataParallel)
        return is_wrapper and any(id(parameter) in own for parameter in thing.parameters())

    if not any(wraps(thing) for thing in gc.get_objects()):
        return False

    # One that is no longer in use may not have been collected.
    gc.collect()
    return any(wraps(thing) for thing in gc.get_objects())


def affine_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Gamma and beta of a norm layer that has them, by key; nothing of any other module."""
    if not isinstance(module, NORM_LAYERS):
        return {}

    affine = {key: module._parameters.get(key) for key in ("weight", "bias")}
    return {key: parameter for key, parameter in affine.items() if parameter is not None}


def _claims(model: nn.Module, channels: Mapping[str, Tensor]) -> Iterator[Claim]:
    """Every parameter and buffer of every module, and which of its entries that owner allows to
    move.
    """
    inside: set[nn.Module] = set()  # of a module that computes its weight

    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        allowed = _allowed(name, module, channels)
        computed = is_parametrized(module) or (isinstance(module, CONVS) and is_computed(module))
        if computed:
            inside.update(part for part in module.modules() if part is not module)

        if module in inside:
            parameters: Any = ()
        else:
            parameters = module.named_parameters(recurse=computed)

        for key, parameter in parameters:
            yield prefix + key, parameter, allowed.get(key)

        for key, buffer in module.named_buffers(recurse=False):
            yield prefix + key, buffer, None


def _allowed(name: str, module: nn.Module, channels: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries that one module allows to move, by parameter of it."""
    mask = channels.get(name)
    if mask is None or not bool(mask.any()):
        return {}
    if isinstance(module, CONVS):
        return parameter_masks(name, module, mask)

    return dict.fromkeys(affine_parameters(module), mask)


def _candidates(model: nn.Module, channels: Mapping[str, Tensor]) -> set[nn.Parameter]:
    """Affine parameters that have as many channels as a mask with a target."""
    sizes = {len(mask) for mask in channels.values() if bool(mask.any())}
    found = set()

    for module in model.modules():
        for parameter in affine_parameters(module).values():
            if len(parameter) in sizes:
                found.add(parameter)

    return found


def _place(tensor: Tensor) -> Any:
    """Equal for tensors that are the same values in the same memory."""
    address = _address(tensor)
    if address is None:
        return id(tensor)

    return address, tensor.shape, tensor.stride(), tensor.dtype


def _address(tensor: Tensor) -> int | None:
    """Of the first value; None for a tensor without memory of its own (empty, a shard)."""
    if type(tensor) not in (Tensor, nn.Parameter) or not tensor.numel():
        return None

    return tensor.data_ptr()


def _refuse_overlaps(claims: list[Claim], targeted: Mapping[str, TargetedEntries]) -> None:
    """ValueError where a targeted parameter and another tensor share a part of their memory."""
    by_device: dict[torch.device, list[tuple[int, int, str, Any]]] = defaultdict(list)

    for name, tensor, _ in claims:
        first = _address(tensor)
        if first is None:
            continue
        steps = zip(tensor.shape, tensor.stride(), strict=True)
        span = 1 + sum((size - 1) * stride for size, stride in steps)
        end = first + span * tensor.element_size()
        by_device[tensor.device].append((first, end, name, _place(tensor)))

    for on_device in by_device.values():
        on_device.sort(key=lambda entry: entry[:2])
        _, longest_end, longest, longest_place = on_device[0]

        for first, end, name, place in on_device[1:]:
            overlap = first < longest_end and place != longest_place
            if overlap and (name in targeted or longest in targeted):
                raise ValueError(
                    f"{longest!r} and {name!r} overlap in memory, but are not the same parameter; "
                    "give each its own (clone) before TGD attaches"
                )
            if end > longest_end:
                longest_end = end
                longest = name
                longest_place = place
