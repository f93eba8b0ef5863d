"""Which kernels reach a convolution's input with no other convolution between: the gradient of
input channel c with respect to the leaf of a convolution is non-zero in just those kernels.

One backward pass a channel would do. Where every kernel feeds one channel at most, as in a plain
chain, some log2 (channels) passes spell the channel's number; where all channels are mixed, or a
block of them beside others (attention that is concatenated with a skip), a sample of the channels
shows it. What earlier passes have seen is only asked for more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from .activation_graph import NETWORK_INPUT, Activation, ForwardPass
from .codes import code_sets, decode

SAMPLE = 16  # channels of a wide map that stand for all
MOST_GROUPS = 4  # of kernels that are looked for in blocks of channels
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
    read: Activation, forward_pass: ForwardPass, known: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Module -> boolean (channels of its leaf, channels of `read`), for every leaf that reaches
    what a module has read; one that shows nothing beyond what is `known` of it may be left out.

    A leaf of which a sample of many channels reads every kernel counts as read by all; kernels
    that a sample of a block of neighbouring channels reads, by all of the block.
    """
    if not read.values.requires_grad:
        return {}

    sums = _channel_sums(read)
    forward_pass = _only_reached(sums, forward_pass)
    by_leaf = _reach_by_codes(sums, forward_pass)

    missing = []
    for i, leaf in enumerate(forward_pass.leaves):
        if by_leaf[i] is None and _shows_more(sums, leaf, (known or {}).get(leaf.module)):
            missing.append(i)

    if missing and len(sums) > 2 * SAMPLE:
        sample = _sample(torch.arange(len(sums)))
        of_sample = _reach_by_channel(sums[sample], _leaves(forward_pass, missing))
        for i, of_leaf in zip(missing, of_sample, strict=True):
            by_leaf[i] = _reach_by_block(sums, forward_pass.leaves[i], sample, of_leaf)

        missing = [i for i in missing if by_leaf[i] is None]

    if missing:
        of_all = _reach_by_channel(sums, _leaves(forward_pass, missing))
        for i, of_leaf in zip(missing, of_all, strict=True):
            by_leaf[i] = of_leaf

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


def _leaves(forward_pass: ForwardPass, numbers: Iterable[int]) -> ForwardPass:
    """The pass with these leaves only."""
    return ForwardPass(leaves=[forward_pass.leaves[i] for i in numbers])


def _sample(channels: Tensor) -> Tensor:
    """Some of many channels, in ascending order."""
    generator = torch.Generator().manual_seed(SAMPLE_SEED)
    order = torch.randperm(len(channels), generator=generator)
    return channels[order[:SAMPLE]].sort().values


def _shows_more(sums: Tensor, leaf: Activation, known: Tensor | None) -> bool:
    """Whether a leaf may reach more than is known of it: one backward pass for all kernels of which
    the same channels are not known to read; yes where few of them share theirs.
    """
    if known is None:
        return True

    unknown, group_of = torch.unique(~known, dim=0, return_inverse=True)
    if len(unknown) > SAMPLE:
        return True

    for i, channels in enumerate(unknown):
        if not bool(channels.any()):
            continue

        touched = _touched(sums[channels.to(sums.device)], leaf)
        if bool(touched[group_of == i].any()):
            return True

    return False


def _touched(sums: Tensor, leaf: Activation) -> Tensor:
    """The leaf's kernels that any of these channels reads, boolean (channels of the leaf,)."""
    (touched,) = touched_kernels(sums.sum(), ForwardPass(leaves=[leaf]))
    return touched


def _reach_by_block(
    sums: Tensor, leaf: Activation, sample: Tensor, of_sample: Tensor
) -> Tensor | None:
    """The reach of a leaf whose kernels are few groups, each read by one block of neighbouring
    channels or by none, from a sample (ascending) of the channels; None where it is not so.
    """
    if bool(of_sample.all()):
        return torch.ones(len(of_sample), len(sums), dtype=torch.bool)

    # Kernels that ReLU silences on one way or on all are groups of their own.
    patterns, group_of = torch.unique(of_sample, dim=0, return_inverse=True)
    if len(patterns) > MOST_GROUPS:
        return None

    by_group = []
    for i, reads in enumerate(patterns):
        block = _block(sums, leaf, group_of == i, sample, reads)
        if block is None:
            return None
        by_group.append(block)

    return torch.stack(by_group)[group_of]


def _block(
    sums: Tensor, leaf: Activation, kernels: Tensor, sample: Tensor, reads: Tensor
) -> Tensor | None:
    """The neighbouring channels that read all of a leaf's `kernels`, where no other reads any:
    boolean (channels,). `reads`: which of the sampled channels do.
    """
    n_channels = len(sums)
    in_block = torch.zeros(n_channels, dtype=torch.bool)
    where = reads.nonzero().flatten().tolist()

    if where:
        # It begins and ends between a sampled channel of it and the next that is not.
        bounds = [-1, *sample.tolist(), n_channels]
        first = _nearest(sums, leaf, kernels, bounds[where[0]], bounds[where[0] + 1])
        last = _nearest(sums, leaf, kernels, bounds[where[-1] + 2], bounds[where[-1] + 1])
        in_block[first : last + 1] = True

        inside = _sample(in_block.nonzero().flatten())
        (of_inside,) = _reach_by_channel(sums[inside], ForwardPass(leaves=[leaf]))
        if not bool(reads[where[0] : where[-1] + 1].all() and of_inside[kernels].all()):
            return None

    outside = ~in_block.to(sums.device)
    return None if bool(_touched(sums[outside], leaf)[kernels].any()) else in_block


def _nearest(sums: Tensor, leaf: Activation, kernels: Tensor, outer: int, inner: int) -> int:
    """The channel nearest to `outer`, and not itself, that reads any of the kernels, by bisection;
    `inner` does.
    """
    side = 1 if inner > outer else -1
    nearest = outer + side

    while nearest != inner:
        middle = nearest + side * (abs(inner - nearest) // 2)
        low = min(nearest, middle)
        high = max(nearest, middle)
        touched = _touched(sums[low : high + 1], leaf)

        if bool(touched[kernels].any()):
            inner = middle
        else:
            nearest = middle + side

    return inner


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
