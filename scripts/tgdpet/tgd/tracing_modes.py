"""Two torch modes for the passes of an activation graph: norms that hand gradients on one to one,
and convolutions that no module runs refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from .layer_kinds import CONVS, NORM_FUNCTIONS


class TraceError(ValueError):
    """The network cannot be traced; the message names the module."""


class OneToOneNorms(TorchFunctionMode):
    """Normalising functions hand gradients on one to one; their values are true, or those of their
    input.
    """

    def __init__(self, *, true_values: bool) -> None:
        super().__init__()
        self.true_values = true_values

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in NORM_FUNCTIONS:
            return func(*args, **kwargs)

        x = args[0] if args else kwargs["input"]
        if not self.true_values:
            return x.clone()

        # The value of the norm with the gradient of the identity.
        change = func(*args, **kwargs) - x
        return x + change.detach()


class ModulesOnly(TorchDispatchMode):
    """Refuses convolutions with the network's own parameters that run outside a convolution module:
    their kernels have no module to be named by. `names`: module -> its name.
    """

    def __init__(self, model: nn.Module, names: Mapping[nn.Module, str]) -> None:
        super().__init__()
        self.names = names
        self.running: list[nn.Module] = [model]  # the innermost module is the last
        self.parameters = {p.data_ptr() for p in model.parameters() if p.numel()}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """What torch's own class asks: whether its compiler, which takes a second to import, is to
        be kept out of this mode; nothing is compiled here.
        """
        return False

    def __enter__(self) -> Any:
        self.handles: list[Any] = []
        for module in self.names:
            self.handles.append(module.register_forward_pre_hook(self._enter))
            self.handles.append(module.register_forward_hook(self._leave))

        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        for handle in self.handles:
            handle.remove()

        super().__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        is_convolution = func.overloadpacket is torch.ops.aten.convolution
        module = self.running[-1]

        if is_convolution and not isinstance(module, CONVS):
            weight = args[1]
            if weight.data_ptr() in self.parameters:
                name = self.names[module] or type(module).__name__
                raise TraceError(
                    f"module {name!r}: runs a convolution by a function call, not as a module"
                )

        return func(*args, **(kwargs or {}))

    def _enter(self, module: nn.Module, args: Any) -> None:
        self.running.append(module)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self.running.pop()
