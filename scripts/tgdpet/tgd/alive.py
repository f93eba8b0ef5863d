"""Which kernels of a network do anything: a dead one gives a constant map, or nobody reads it.

Retraining a dead kernel costs the old task nothing by itself, and a mask of dead kernels says less
than its size; so tables name both.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from .activation_graph import ActivationGraph, Draw
from .computed_weights import by_kernel, weight_of
from .connectivity import (
    NETWORK_INPUT,
    Connections,
    connections,
    following_norms,
    gradients_on,
)
from .reach import touched_kernels, weighted_sum
from .scoring import consumer_weight

TOLERANCE = 1e-6  # of the largest of the layer


def alive_kernels(
    model: nn.Module,
    example_input: Any,
    *,
    tolerance: float = TOLERANCE,
    unused: Collection[str] = (),
) -> dict[str, Tensor]:
    """Module name -> bool (N,) of each output kernel of each convolution, True = alive; on the CPU.

    A kernel is dead if the L1 norm of its weight, or the gamma of a norm layer that all of it goes
    through, is at most `tolerance` of the largest of its layer (its map is constant), or if the
    same holds for the weights of everything that reads it and it does not reach the network's
    output by itself. Raises TraceError naming the module that cannot be traced.
    """
    connected = connections(model, example_input, unused=unused)
    return alive_from(model, example_input, connected, tolerance)


def alive_from(
    model: nn.Module, example_input: Any, connected: Connections, tolerance: float = TOLERANCE
) -> dict[str, Tensor]:
    """`alive_kernels` of a network whose connections are known."""
    norms_of = following_norms(model, example_input)
    passes_by = _kernels_past(model, example_input, norms_of)
    is_read = _read_kernels(model, connected, tolerance)
    alive = {}

    for name, read in is_read.items():
        kernels = by_kernel(model.get_submodule(name), weight_of(model.get_submodule(name)))
        has_weight = _above(kernels.detach().abs().sum(1).cpu(), tolerance)
        passes = torch.ones_like(read)

        for norm in norms_of.get(name, []):
            gamma = model.get_submodule(norm)._parameters.get("weight")
            if gamma is not None:
                passes = passes & _above(gamma.detach().abs().cpu(), tolerance)

        past = passes_by.get(name, torch.zeros_like(read))
        alive[name] = read & has_weight & (passes | past)

    return alive


def _above(sizes: Tensor, tolerance: float) -> Tensor:
    return sizes > tolerance * sizes.max()


def _read_kernels(model: nn.Module, connected: Connections, tolerance: float) -> dict[str, Tensor]:
    """Module -> bool (N,): kernels that reach the network's output, or that a convolution reads
    with weights above the tolerance.
    """
    is_read = {name: kernels.clone() for name, kernels in connected.outputs.items()}
    reads: dict[str, Tensor] = {}

    for link in connected.links:
        if link.producer == NETWORK_INPUT:
            continue

        if link.consumer not in reads:
            weight = consumer_weight(model.get_submodule(link.consumer)).detach()
            by_channel = weight.abs().transpose(0, 1).flatten(1).sum(1)
            reads[link.consumer] = _above(by_channel.cpu(), tolerance)

        read = (link.reach & reads[link.consumer]).any(dim=1)
        is_read[link.producer] = is_read.get(link.producer, torch.zeros_like(read)) | read

    # In the order of the modules.
    return {name: is_read[name] for name, _ in model.named_modules() if name in is_read}


@gradients_on()
def _kernels_past(
    model: nn.Module, example_input: Any, norms_of: dict[str, list[str]]
) -> dict[str, Tensor]:
    """Module -> bool (N,): kernels that also reach something without the norm that follows them."""
    graph = ActivationGraph(model, example_input)
    modules = {name: module for module, name in graph.module_names.items()}

    for norms in norms_of.values():
        for norm in norms:
            modules[norm].register_forward_hook(lambda module, args, output: output.detach())

    past: dict[str, Tensor] = {}
    for draw in (Draw(0), Draw(0, -1)):
        forward_pass = graph.run(draw)
        reads = [read.values for read in forward_pass.conv_inputs]
        total = weighted_sum([*reads, *forward_pass.outputs])
        if total is None:
            continue

        touched = touched_kernels(total, forward_pass)
        for leaf, kernels in zip(forward_pass.leaves, touched, strict=True):
            past[leaf.module] = past.get(leaf.module, torch.zeros_like(kernels)) | kernels

    return past
