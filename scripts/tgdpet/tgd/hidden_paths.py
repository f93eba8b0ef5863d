"""Ways from kernels to convolutions that autograd does not see: kernels are redrawn, and whatever a
convolution reads may change only where a link says so.

Many modules are redrawn in one pass. Where none of what a convolution reads is redrawn, it tests
all that is; modules with no reader in common are tested side by side, on the kernels that their
readers do not link to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from .activation_graph import Activation, ActivationGraph, Draw, ForwardPass
from .codes import code_sets

TOLERANCE = 1e-5  # of an input's largest value: rounding on a GPU that adds in no fixed order
Kernels = dict[str, Tensor]  # module -> boolean (kernels,)


class Observed(Protocol):
    """What links are known: reach by (producer, consumer), and each producer's kernels."""

    links: dict[tuple[str, str], Tensor]
    n_kernels: dict[str, int]

    def add(self, forward_pass: ForwardPass) -> None:
        """Learn the links of one more pass."""


def hidden_dependence(graph: ActivationGraph, observed: Observed, seed: int) -> str | None:
    """The error of the first input that changes without a link, None where there is none.

    Tested are every producer and consumer without a link between, and in linked pairs any two
    kernels. Where the control flow follows the data, `observed` learns from that pass.
    """
    base = graph.run(Draw(seed))
    consumers = list(dict.fromkeys(read.module for read in base.conv_inputs))
    tests = [*_unlinked(observed, consumers), *_within_links(observed, consumers)]

    for redrawn in tests:
        error = _unexplained(graph, observed, seed, base, redrawn)
        if error is not None:
            return error

    return None


def _unexplained(
    graph: ActivationGraph, observed: Observed, seed: int, base: ForwardPass, redrawn: Kernels
) -> str | None:
    """The error of the first input that changes though none of its links is redrawn."""
    other = graph.run(Draw(seed, 1, redrawn))

    if other.calls != base.calls:
        # The control flow follows the data: one more pass to learn from.
        if len(redrawn) == 1:
            observed.add(other)
            return None

        return _one_by_one(graph, observed, seed, base, redrawn)

    for read, read_again in zip(base.conv_inputs, other.conv_inputs, strict=True):
        linked = torch.zeros(read.n_channels, dtype=torch.bool)
        for producer, kernels in redrawn.items():
            reach = observed.links.get((producer, read.module))
            if reach is not None:
                linked |= reach[kernels].any(dim=0)

        if bool(linked.all()) or not _changes(read, read_again, ~linked):
            continue

        if len(redrawn) > 1:
            return _one_by_one(graph, observed, seed, base, redrawn) or _error(read, redrawn)

        return _error(read, redrawn)

    return None


def _one_by_one(
    graph: ActivationGraph, observed: Observed, seed: int, base: ForwardPass, redrawn: Kernels
) -> str | None:
    """The same with one module redrawn at a time."""
    for producer, kernels in redrawn.items():
        error = _unexplained(graph, observed, seed, base, {producer: kernels})
        if error is not None:
            return error

    return None


def _error(read: Activation, redrawn: Kernels) -> str:
    producers = ", ".join(repr(name) for name in redrawn)
    return (
        f"module {read.module!r}: its input depends on {producers} by a way that autograd does not "
        "see (detach, no_grad, numpy or indices that follow the data); it cannot be traced"
    )


def _linked(observed: Observed, consumers: list[str]) -> Tensor:
    """Boolean (producers, consumers)."""
    linked = torch.zeros(len(observed.n_kernels), len(consumers), dtype=torch.bool)
    row = {name: i for i, name in enumerate(observed.n_kernels)}
    column = {name: i for i, name in enumerate(consumers)}

    for producer, consumer in observed.links:
        if producer in row and consumer in column:
            linked[row[producer], column[consumer]] = True

    return linked


def _unlinked(observed: Observed, consumers: list[str]) -> Iterator[Kernels]:
    """Modules to redraw together, as few sets of them as come easily, such that every producer is
    once redrawn while nothing is that a consumer without a link to it reads.
    """
    producers = list(observed.n_kernels)
    linked = _linked(observed, consumers)
    untested = (~linked).double()

    while bool(untested.any()):
        order = untested.sum(dim=1).argsort(descending=True).tolist()
        group: list[int] = []
        free = torch.ones(len(consumers), dtype=torch.bool)
        tested = torch.zeros(len(consumers), dtype=torch.float64)

        for i in order:
            # Another one tests its own, and takes its readers' tests away.
            still_free = free & ~linked[i]
            with_it = ((tested + untested[i]) * still_free).sum()
            if bool(with_it > (tested * free).sum()):
                group.append(i)
                free = still_free
                tested = tested + untested[i]

        for i in group:
            untested[i, free] = 0

        yield {producers[i]: _all(observed, producers[i]) for i in group}


def _within_links(observed: Observed, consumers: list[str]) -> Iterator[Kernels]:
    """Kernels to redraw together: in each module sets that part any two kernels, side by side in
    modules that have no reader in common.
    """
    linked = dict(zip(observed.n_kernels, _linked(observed, consumers), strict=True))
    partly = {
        producer
        for (producer, _), reach in observed.links.items()
        if producer in linked and not bool(reach.all())
    }

    # The largest first, so that modules with as many sets come together.
    groups: list[list[str]] = []
    readers_of: list[Tensor] = []
    for producer in sorted(partly, key=lambda name: -observed.n_kernels[name]):
        for group, readers in zip(groups, readers_of, strict=True):
            if not bool((readers & linked[producer]).any()):
                group.append(producer)
                readers |= linked[producer]
                break
        else:
            groups.append([producer])
            readers_of.append(linked[producer].clone())

    for group in groups:
        sets = {name: code_sets(observed.n_kernels[name]) for name in group}
        for i in range(max(len(of_module) for of_module in sets.values())):
            yield {name: of_module[i] for name, of_module in sets.items() if i < len(of_module)}


def _all(observed: Observed, producer: str) -> Tensor:
    return torch.ones(observed.n_kernels[producer], dtype=torch.bool)


@torch.no_grad()
def _changes(read: Activation, read_again: Activation, channels: Tensor) -> bool:
    """Whether two inputs differ by more than rounding in any of these channels."""
    if torch.equal(read.values, read_again.values):
        return False

    all_a = read.by_channel(read.values)
    on_device = channels.to(all_a.device)
    a = all_a[on_device]
    b = read_again.by_channel(read_again.values)[on_device]
    if torch.equal(a, b):
        return False

    finite = torch.where(all_a.isfinite(), all_a.abs(), 0.0)
    within_rounding = (a - b).abs() <= TOLERANCE * finite.max()
    both_nan = a.isnan() & b.isnan()
    same = (a == b) | within_rounding | both_nan

    return not bool(same.all())
