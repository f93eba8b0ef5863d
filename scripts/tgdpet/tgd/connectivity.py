"""Which kernels feed which convolution, in any network: probed with autograd, without reading its
code.

Passes through the network's activation graph, cut at its convolutions, show the kernels that reach
each input channel with no other convolution between. That holds through activations, pooling, adds,
concatenation, chunks, PixelShuffle and control flow alike. Passes go on until one more pair of them
shows nothing new. Then kernels are redrawn and every convolution's input compared: a channel that
changes though no link says so is reached by a way that autograd does not see, and an error says
where.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .activation_graph import NETWORK_INPUT, Activation, ActivationGraph, Draw, ForwardPass
from .hidden_paths import hidden_dependence
from .reach import merge_reach, reach_of_input, reach_of_output
from .tracing_modes import TraceError

__all__ = [
    "NETWORK_INPUT",
    "Connections",
    "Link",
    "connections",
    "following_norms",
    "links",
]

MOST_ROUNDS = 8  # of passes, until nothing new is seen


@dataclass(frozen=True)
class Link:
    """`reach[p, c]`: output channel p of `producer` reaches input channel c of `consumer`, no
    convolution between.

    `producer` is NETWORK_INPUT for the network's own input, taken as a whole: one row, all True.
    """

    producer: str
    consumer: str
    reach: Tensor


@dataclass(frozen=True)
class Connections:
    """All links, and by module the kernels that reach the network's output with no convolution
    between.
    """

    links: list[Link]
    outputs: dict[str, Tensor]


@dataclass
class ObservedLinks:
    """The union over passes: reach by (producer, consumer), kernels that reach the output, number
    of kernels by module.
    """

    links: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    n_kernels: dict[str, int] = field(default_factory=dict)
    n_entries: int = 0  # of all links
    newest: str = ""  # the last link that was new

    def add(self, forward_pass: ForwardPass) -> None:
        """Add one pass's links."""
        for leaf in forward_pass.leaves:
            if leaf.module != NETWORK_INPUT:
                self.n_kernels[leaf.module] = leaf.n_channels

        for read in forward_pass.conv_inputs:
            self._add_consumer(read, forward_pass)

        of_output = reach_of_output(forward_pass)
        for producer, kernels in of_output.items():
            merge_reach(self.outputs, producer, kernels)

    def _add_consumer(self, read: Activation, forward_pass: ForwardPass) -> None:
        known = {
            producer: reach
            for (producer, consumer), reach in self.links.items()
            if consumer == read.module
        }

        by_producer = reach_of_input(read, forward_pass, known)
        for producer, reach in by_producer.items():
            if producer == NETWORK_INPUT:
                reach = torch.ones_like(reach)

            pair = (producer, read.module)
            n_new = merge_reach(self.links, pair, reach)
            if n_new:
                self.n_entries += n_new
                self.newest = f"module {read.module!r}: what it reads of {producer!r}"


def links(
    model: torch.nn.Module, example_input: Any, *, unused: Collection[str] = ()
) -> list[Link]:
    """Every producer-consumer pair of convolutions, in order of the consumers' calls; masks on the
    CPU.
    """
    return connections(model, example_input, unused=unused).links


@contextmanager
def gradients_on() -> Iterator[None]:
    """Gradients in float32, whatever the caller has switched off."""
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast("cpu", enabled=False),
        torch.autocast("cuda", enabled=False),
    ):
        yield


@gradients_on()
def connections(
    model: torch.nn.Module, example_input: Any, *, unused: Collection[str] = ()
) -> Connections:
    """Which kernels every convolution and the network's output read; masks on the CPU.

    `example_input`: a tensor, or a tuple or mapping of arguments. The network is a copy in
    evaluation mode and, where that leaves convolutions uncalled, in training mode too. `unused`
    names those that are never called. Raises TraceError naming the module whose forward is not
    called, whose input depends on kernels by a way that autograd does not see (detach, numpy,
    indices), whose links change with the data, or which hides a convolution in a function call.
    """
    graph = ActivationGraph(model, example_input)
    unknown = sorted(set(unused) - set(graph.convs))
    if unknown:
        raise TraceError(
            f"unused: expected names of convolutions of the model, got {', '.join(unknown)}"
        )

    observed = ObservedLinks()
    for _ in _modes(graph, unused):
        observed.add(graph.run())
        _add_until_stable(graph, observed)

    all_links = []
    for (producer, consumer), reach in observed.links.items():
        all_links.append(Link(producer, consumer, reach))

    return Connections(all_links, observed.outputs)


@gradients_on()
def following_norms(model: torch.nn.Module, example_input: Any) -> dict[str, list[str]]:
    """The norm layers that follow each convolution: every channel depends on that kernel of it, and
    nothing else.
    """
    graph = ActivationGraph(model, example_input)
    reach_of_norm: dict[str, dict[str, Tensor]] = defaultdict(dict)

    for _ in _modes(graph, unused=graph.convs):
        for draw in (None, Draw(0), Draw(0, -1)):
            forward_pass = graph.run(draw)
            for read in forward_pass.norm_inputs:
                by_producer = reach_of_input(read, forward_pass)
                for producer, reach in by_producer.items():
                    merge_reach(reach_of_norm[read.module], producer, reach)

    norms_of: dict[str, list[str]] = defaultdict(list)
    for norm, by_producer in reach_of_norm.items():
        if len(by_producer) != 1:
            continue

        producer, reach = next(iter(by_producer.items()))
        if producer != NETWORK_INPUT and _is_identity(reach):
            norms_of[producer].append(norm)

    return dict(norms_of)


def _is_identity(reach: Tensor) -> bool:
    n_rows, n_columns = reach.shape
    identity = torch.eye(n_rows, n_columns, dtype=torch.bool)
    return n_rows == n_columns and torch.equal(reach, identity)


def _modes(graph: ActivationGraph, unused: Collection[str]) -> Iterator[None]:
    """Evaluation mode, then training mode if convolutions (heads of deep supervision) were not
    called before.
    """
    for training in (False, True):
        graph.network.train(training)
        yield
        if not set(graph.convs) - graph.called:
            return

    called_or_unused = {*graph.called, *unused}
    missing = [name for name in graph.convs if name not in called_or_unused]
    if missing:
        raise TraceError(
            f"module {missing[0]!r}: its forward was not called for this input, so that what it "
            "reads cannot be found; give an example_input that runs it, or name it in unused= if "
            "nothing ever does"
        )


def _add_until_stable(graph: ActivationGraph, observed: ObservedLinks) -> None:
    """Add passes until a pair of opposite signs shows no new link and redrawn kernels show no
    hidden one.

    What redrawn kernels changed without a link stays in doubt until links explain that very draw.
    """
    doubts: dict[int, str] = {}

    for seed in range(MOST_ROUNDS):
        n_before = observed.n_entries
        for sign in (1, -1):
            forward_pass = graph.run(Draw(seed, sign))
            observed.add(forward_pass)

        if observed.n_entries > n_before:
            continue

        doubts = _remaining_doubts(graph, observed, [*doubts, seed])
        if not doubts and observed.n_entries == n_before:
            return

    if doubts:
        first_error = next(iter(doubts.values()))
        raise TraceError(first_error)

    raise TraceError(
        f"{observed.newest}: differs from run to run; "
        "links that change with the data cannot be used"
    )


def _remaining_doubts(
    graph: ActivationGraph, observed: ObservedLinks, seeds: list[int]
) -> dict[int, str]:
    """The seeds whose redrawn kernels change an input without a link, each with its error."""
    doubts = {}
    for seed in seeds:
        error = hidden_dependence(graph, observed, seed)
        if error is not None:
            doubts[seed] = error

    return doubts
