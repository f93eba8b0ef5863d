"""What happens at every optimizer step, whoever calls it (torch's global step hooks)."""

from __future__ import annotations

import weakref
from typing import Any, Protocol

import torch
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)


class StepListener(Protocol):
    """Is told of each step of an optimizer that holds parameters of its model."""

    def before_step(self, optimizer: Optimizer) -> None:
        """The gradients are there."""

    def after_step(self, optimizer: Optimizer) -> None:
        """The parameters have moved."""


def listen(listener: StepListener) -> list[Any]:
    """Have the listener told of every step; handles whose `remove` ends it.

    The listener is not kept alive.
    """
    reference = weakref.ref(listener)

    # A compiled optimizer calls them as they are.
    @torch.compiler.disable
    def before(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        alive = reference()
        if alive is not None:
            alive.before_step(optimizer)

    @torch.compiler.disable
    def after(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        alive = reference()
        if alive is not None:
            alive.after_step(optimizer)

    handles = [
        register_optimizer_step_pre_hook(before),
        register_optimizer_step_post_hook(after),
    ]
    for handle in handles:
        weakref.finalize(listener, handle.remove)

    return handles
