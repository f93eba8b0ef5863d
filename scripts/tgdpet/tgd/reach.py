"""Which kernels reach a convolution's input with no other convolution between: the gradient of
input channel c with respect to the leaf of a convolution is non-zero in just those kernels.

One backward pass a channel would do. Where every kernel feeds one channel at most, as in a plain
chain, some log2 (channels) passes spell the channel's number; where all channels are mixed, a
sample of the channels shows it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import Tensor

from .activation_graph import NETWORK_INPUT, Activation, ForwardPass
from .codes import code_sets, decode

SAMPLE = 16  # channels of a wide map that stand for all
WEIGHTS_SEED = 1  # of the random weights of sums over a map
SAMPLE_SEED = 3


def merge_reach(table: dict[Any, Tensor], key: Any, reach: Tensor) -> int:
    """Or `reach` into a table; the number of entries that are new."""
    n_before = 0
    if key in table:
        n_before = int(table[key].sum())
        reach = table[key] | reach

    table[key] = reach
    return int(reach.sum()) - n_before


def reach_of_input(
    read: Activation, forward_pass: ForwardPass, known: Collection[str] = ()
) -> dict[str, Tensor]:
    """Module -> boolean (channels of its leaf, channels of `read`), for every leaf that reaches
    what a module has read; leaves of the modules in `known` may be left out.

    A leaf of which a sample of many channels reads every kernel counts as read by all.
    """
    if not read.values.requires_grad:
        return {}

    sums = _channel_sums(read)
    forward_pass = _only_reached(sums, forward_pass)
    by_leaf = _reach_by_codes(sums, forward_pass)

    def missing() -> list[int]:
        return [
            i
            for i, leaf in enumerate(forward_pass.leaves)
            if by_leaf[i] is None and leaf.module not in known
        ]

    n_channels = len(sums)
    if missing() and n_channels > 2 * SAMPLE:
        generator = torch.Generator().manual_seed(SAMPLE_SEED)
        order = torch.randperm(n_channels, generator=generator)
        sample = sums[order[:SAMPLE]]
        of_sample = _reach_by_channel(sample, forward_pass)

        for i in missing():
            if bool(of_sample[i].all()):
                n_kernels = len(of_sample[i])
                by_leaf[i] = torch.ones(n_kernels, n_channels, dtype=torch.bool)

    if missing():
        of_all = _reach_by_channel(sums, forward_pass)
        for i in missing():
            by_leaf[i] = of_all[i]

    # A module that is called several times has several leaves.
    by_module: dict[str, Tensor] = {}
    for leaf, reach in zip(forward_pass.leaves, by_leaf, strict=True):
        if reach is not None and bool(reach.any()):
            merge_reach(by_module, leaf.module, reach)

    return by_module


def reach_of_output(forward_pass: ForwardPass) -> dict[str, Tensor]:
    """Module -> boolean (channels of its leaf,) for every convolution that reaches the network's
    output.
    """
    total = weighted_sum(forward_pass.outputs)
    if total is None:
        return {}

    touched = touched_kernels(total, forward_pass)

    by_module: dict[str, Tensor] = {}
    for leaf, kernels in zip(forward_pass.leaves, touched, strict=True):
        if leaf.module != NETWORK_INPUT and bool(kernels.any()):
            merge_reach(by_module, leaf.module, kernels)

    return by_module


def weighted_sum(tensors: Iterable[Tensor]) -> Tensor | None:
    """The sum of all values with random weights, float64; None where nothing has a gradient."""
    sums = []
    generator = torch.Generator().manual_seed(WEIGHTS_SEED)

    for tensor in tensors:
        if not tensor.requires_grad:
            continue

        values = torch.view_as_real(tensor) if tensor.is_complex() else tensor
        weights = torch.randn(values.shape, generator=generator)
        weighted = values * weights.to(values)
        sums.append(weighted.sum().double())

    return torch.stack(sums).sum() if sums else None


def touched_kernels(target: Tensor, forward_pass: ForwardPass) -> list[Tensor]:
    """For every leaf, boolean (channels,): where the gradient of the scalar `target` is not zero;
    the network's input counts as one channel.
    """
    gradients = torch.autograd.grad(
        target,
        [leaf.values for leaf in forward_pass.leaves],
        retain_graph=True,
        allow_unused=True,
    )

    touched = []
    for leaf, gradient in zip(forward_pass.leaves, gradients, strict=True):
        if gradient is None:
            kernels = torch.zeros(leaf.n_channels, dtype=torch.bool)
        else:
            is_touched = leaf.by_channel(gradient) != 0
            kernels = is_touched.any(dim=1).cpu()
        touched.append(kernels)

    return touched


def _only_reached(sums: Tensor, forward_pass: ForwardPass) -> ForwardPass:
    """The pass with those leaves only that the channels' graph leads to."""
    gradients = torch.autograd.grad(
        sums.sum(),
        [leaf.values for leaf in forward_pass.leaves],
        retain_graph=True,
        allow_unused=True,
    )
    reached = [
        leaf
        for leaf, gradient in zip(forward_pass.leaves, gradients, strict=True)
        if gradient is not None
    ]
    return ForwardPass(leaves=reached)


def _channel_sums(read: Activation) -> Tensor:
    """A weighted sum of each channel, (channels,); random weights, as plain sums of normalised maps
    are constant.
    """
    generator = torch.Generator().manual_seed(WEIGHTS_SEED)
    weights = torch.randn(read.values.shape, generator=generator)
    weighted = read.values * weights.to(read.values)

    return read.by_channel(weighted).sum(1)


def _reach_by_channel(sums: Tensor, forward_pass: ForwardPass) -> list[Tensor]:
    """The reach of every leaf, from one backward pass a channel."""
    by_channel = [touched_kernels(channel_sum, forward_pass) for channel_sum in sums]

    by_leaf = zip(*by_channel, strict=True)
    return [torch.stack(columns, dim=1) for columns in by_leaf]


def _reach_by_codes(sums: Tensor, forward_pass: ForwardPass) -> list[Tensor | None]:
    """The same from some log2 (channels) backward passes; None for a leaf that feeds several
    channels with one kernel, and for all where it would take more passes than channels.

    A kernel that feeds one channel is touched by just those sums of channels that hold it: they
    spell the channel's number.
    """
    n_channels = len(sums)
    sets = code_sets(n_channels)
    if len(sets) >= n_channels:
        return [None] * len(forward_pass.leaves)

    by_set = [touched_kernels(sums[of_set.to(sums.device)].sum(), forward_pass) for of_set in sets]
    by_leaf: list[Tensor | None] = []

    for i, leaf in enumerate(forward_pass.leaves):
        touched = torch.stack([of_set[i] for of_set in by_set])
        if leaf.module == NETWORK_INPUT:
            by_leaf.append(touched.any(dim=0)[:, None].expand(1, n_channels))
            continue

        channel = decode(sets, touched)
        if bool((channel == -2).any()):
            by_leaf.append(None)
            continue

        number = torch.arange(n_channels)
        by_leaf.append(channel[:, None] == number)

    return by_leaf
