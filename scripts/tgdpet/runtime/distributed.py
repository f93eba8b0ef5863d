"""One training job in several processes (torchrun), each with a share of every batch.

The curve is that of one process.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

SYNCHRONISED = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def processes() -> int:
    """Processes of this job, as torchrun says; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """Number of this process on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


@dataclass(frozen=True)
class World:
    """This process's number among those of the job; the first writes files and messages."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and messages for all."""
        return self.rank == 0

    def part(self, count: int) -> tuple[slice, float]:
        """This process's part of a batch of `count`, and that part's weight.

        The weight is that of its mean in the mean of all processes' means.
        """
        start = count * self.rank // self.size
        stop = count * (self.rank + 1) // self.size

        return slice(start, stop), (stop - start) * self.size / count

    def mean(self, values: Tensor) -> Tensor:
        """The mean of `values` over the processes."""
        if self.size > 1:
            values = values.clone()
            distributed.all_reduce(values)

        return values / self.size

    @contextlib.contextmanager
    def spread(self, model: nn.Module, device: torch.device) -> Iterator[nn.Module]:
        """What to call instead of `model` in a training of several processes.

        Gradients are averaged over processes, batch statistics are of all.
        """
        if self.size == 1:
            yield model
            return

        norms = {m: type(m) for m in model.modules() if type(m) in SYNCHRONISED}
        for norm, kind in norms.items():
            norm.__class__ = _synced(kind)

        try:
            # The networks' buffers are statistics that all processes compute alike.
            ids = [device] if device.type == "cuda" else None
            yield DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)
        finally:
            for norm, kind in norms.items():
                norm.__class__ = kind


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """Join the job's other processes: NCCL on GPUs, gloo on CPUs; alone without torchrun."""
    if processes() == 1:
        yield World()
        return

    if device.type == "cuda":
        torch.cuda.set_device(device)

    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


class _Sum(torch.autograd.Function):
    """The sum over processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        return total


class _Synced:
    """Batch normalisation with the statistics of all processes' batches.

    torch's own SyncBatchNorm knows GPUs only.
    """

    def forward(self: Any, x: Tensor) -> Tensor:
        """(B, C, ...), B of this process, 0 allowed."""
        if not self.training:
            return nn.BatchNorm2d.forward(self, x)

        values = x.float()
        dims = [d for d in range(x.ndim) if d != 1]
        shape = (1, -1, *[1] * (x.ndim - 2))

        # Mean and variance over the batches of all processes, (C,).
        count = values.new_tensor([values.numel() / values.shape[1]])
        sums = _Sum.apply(torch.cat([values.sum(dims), count]))
        n = sums[-1].detach()
        mean = sums[:-1] / n
        centred = values - mean.view(shape)
        var = _Sum.apply((centred * centred).sum(dims)) / n

        self._update_running(mean, var, n)

        scale = (self.weight if self.affine else 1.0) / torch.sqrt(var + self.eps)
        normalised = centred * scale.view(shape)
        if self.affine:
            normalised = normalised + self.bias.view(shape)

        return normalised.to(x.dtype)

    @torch.no_grad()
    def _update_running(self: Any, mean: Tensor, var: Tensor, n: Tensor) -> None:
        self.num_batches_tracked += 1
        share = self.momentum
        if share is None:  # the mean over all batches so far
            share = 1.0 / float(self.num_batches_tracked)

        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(var * n / (n - 1), share)


_CLASSES: dict[type, type] = {}


def _synced(kind: type) -> type:
    """The batch norm class with statistics of all processes.

    The module keeps its parameters, buffers and hooks.
    """
    return _CLASSES.setdefault(kind, type(f"Synced{kind.__name__}", (_Synced, kind), {}))
