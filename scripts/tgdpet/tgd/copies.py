"""Copies of modules, and hooks that do not go along.

A copy of an attached model (an average, a teacher, a saved file, a worker's) is a plain network:
the hooks in it do nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from .tracing_modes import TraceError

M = TypeVar("M", bound=nn.Module)


class ModuleHook:
    """A hook of this package on a module; a copy of it, or one read from a file, does nothing."""

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        self.function = function

    def __call__(self, *args: Any) -> Any:
        """What torch calls it with goes on."""
        if self.function is None:
            return None

        return self.function(*args)

    def __deepcopy__(self, memo: dict[int, Any]) -> ModuleHook:
        return ModuleHook()

    def __reduce__(self) -> tuple[Any, ...]:
        return ModuleHook, ()


def copied(module: M) -> M:
    """A deep copy of a module that may hold computed tensors (a normalised weight).

    Such a tensor becomes a constant, until the next forward pass computes it anew. Raises
    TraceError naming the module that cannot be copied.
    """
    computed: dict[int, Any] = {}
    for part in module.modules():
        for value in tree_leaves([vars(part), part._buffers]):
            if isinstance(value, Tensor) and not value.is_leaf:
                computed[id(value)] = value.detach().clone()

    try:
        return copy.deepcopy(module, computed)
    except (RuntimeError, TypeError) as error:
        name = _cannot_be_copied(module)
        raise TraceError(f"module {name!r}: cannot be copied: {error}") from error


def _cannot_be_copied(module: nn.Module) -> str:
    """The innermost module that deepcopy fails for, by name or, for the whole, by class."""
    failing = type(module).__name__

    for name, part in module.named_modules():
        try:
            copy.deepcopy(part)
        except (RuntimeError, TypeError):
            failing = name or failing

    return failing


def local(tensor: Tensor) -> Tensor:
    """What of a tensor lies in this process: all, or a shard (FSDP2)."""
    sharded: Any = tensor
    return sharded.to_local() if hasattr(tensor, "to_local") else tensor


@torch.no_grad()
def shard_like(whole: Tensor, parameter: Any) -> Tensor:
    """The part of `whole` that belongs to this process's shard of `parameter`."""
    from torch.distributed.tensor import distribute_tensor

    on_device = whole.to(local(parameter).device)
    sharded = distribute_tensor(
        on_device.contiguous(), parameter.device_mesh, parameter.placements, src_data_rank=None
    )
    part: Tensor = sharded.to_local()
    return part
