"""The oracle of the links: change one kernel's output, hold every other convolution's, and see what
changes.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from tgdpet.tgd.layer_kinds import CONVS

MIXING = (nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
OUTPUT = "<output>"


class Brute:
    """One network on one input; norm layers that mix channels are out of the way, gates at zero are
    open.
    """

    def __init__(self, model: nn.Module, example: Any):
        self.model = copy.deepcopy(model).eval()
        self.example = example
        self.names = {m: n for n, m in self.model.named_modules() if isinstance(m, CONVS)}
        kernels = {p for m in self.names for p in m.parameters()}
        with torch.no_grad():
            for parameter in self.model.parameters():
                if parameter not in kernels:
                    parameter[parameter == 0] = 0.7
        self.reads: dict[str, list[Tensor]] = {}
        self.change: tuple[str, int, Tensor] | None = None
        for module in self.model.modules():
            if isinstance(module, MIXING):
                module.forward = lambda x: x
        for module in self.names:
            module.register_forward_hook(self._hold)

    def feeds(self, name: str, channel: int) -> set[tuple[str, int]]:
        """(consumer, input channel) that the kernel reaches, and (OUTPUT, 0) if it reaches the
        output.
        """
        found: set[tuple[str, int]] = set()
        for trial in range(4):
            before = self._run(trial, None)
            after = self._run(trial, (name, channel))
            for key, calls in before.items():
                for a, b in zip(calls, after[key], strict=True):
                    different = (a != b).flatten(1).any(1)
                    found |= {(key, c) for c in torch.nonzero(different).flatten().tolist()}
        return found

    def _run(self, trial: int, change: tuple[str, int] | None) -> dict[str, list[Tensor]]:
        self.generator = torch.Generator().manual_seed(trial)
        self.change, self.reads, self.push = change, {}, 3.0 * (-1) ** trial
        torch.manual_seed(trial)
        with torch.no_grad():
            args = self.example if isinstance(self.example, tuple) else (self.example,)
            output = self.model(*args)
        whole = torch.cat(
            [t.double().reshape(1, -1) for t in tree_leaves(output) if t.is_floating_point()], 1
        )
        return {**self.reads, OUTPUT: [whole]}

    def _hold(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        name = self.names[module]
        axis = -1 - len(module.kernel_size)
        self.reads.setdefault(name, []).append(args[0].movedim(axis, 0).clone())
        value = torch.randn(output.shape, generator=self.generator)
        if self.change is not None and self.change[0] == name:
            value.select(axis, self.change[1]).add_(self.push)
        return value
