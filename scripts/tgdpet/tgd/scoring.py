"""KSE of every kernel of any network, as the convolutions that read it see it, and the choice of
the redundant ones (the paper's Fig. 2).

KSE scores the input channels of a convolution (the consumer). A redundant channel marks the kernels
of an earlier convolution (the producer) that make it; those are what TGD retrains.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from . import kse
from .computed_weights import weight_of
from .connectivity import NETWORK_INPUT, Connections, connections

NO_CONSUMER = -1.0  # in place of a KSE, which is at least 0


def score_kernels(
    model: nn.Module,
    example_input: Any,
    *,
    k: int = 5,
    alpha: float = 1.0,
    unused: Collection[str] = (),
) -> dict[str, Tensor]:
    """KSE of each output kernel, as its consumers see it: module name -> float64 (N,) in [0, 1], on
    the CPU.

    The maximum over consumers: a kernel is redundant only if nobody needs it, so one that also
    reaches the output without a convolution between scores 1. A module that no convolution reads
    (the last one) is absent, and so stays frozen. `example_input` is a tensor, or a tuple or
    mapping of arguments, on which a copy of the network runs; small is fast. `unused` names
    convolutions that are never called. Raises TraceError (a ValueError) naming the module that
    cannot be traced.
    """
    scores = score_components(
        model,
        example_input,
        k=k,
        alpha=alpha,
        unused=unused,
    )
    return {name: components.kse for name, components in scores.items()}


def score_components(
    model: nn.Module,
    example_input: Any,
    *,
    k: int = 5,
    alpha: float = 1.0,
    unused: Collection[str] = (),
) -> dict[str, kse.Components]:
    """Sparsity, entropy and KSE of each output kernel by module, as its most sensitive consumer
    sees it.

    float64 (N,) on the CPU; computed where the weights are. Protected (KSE 1) are, in a module that
    has consumers, kernels that none of them reads and kernels that also reach the network's output
    with no convolution between. Raises TraceError (a ValueError) naming the module that cannot be
    traced.
    """
    connected = connections(model, example_input, unused=unused)
    return components_from(model, connected, k, alpha)


def components_from(
    model: nn.Module, connected: Connections, k: int = 5, alpha: float = 1.0
) -> dict[str, kse.Components]:
    """`score_components` of a network whose connections are known."""
    as_seen = _by_producer(model, connected, k, alpha)
    scores = {}

    # In the order of the modules.
    for name, _ in model.named_modules():
        if name not in as_seen:
            continue

        components = as_seen[name]
        protected = components.kse == NO_CONSUMER
        if name in connected.outputs:
            protected = protected | connected.outputs[name]

        value = torch.where(protected, 1.0, components.kse)
        scores[name] = components._replace(kse=value)

    return scores


def select(
    scores: Mapping[str, Any],
    phi: float = 0.3,
    fraction: float | None = None,
    alive: Mapping[str, Any] | None = None,
) -> dict[str, Tensor]:
    """True = redundant, to be retrained: KSE < phi (strictly), or the `fraction` of all kernels
    with the smallest KSE.

    The mask M of the paper's section 2.1. phi = 0 selects nothing. With `alive` (`alive_kernels`)
    the fraction counts the living ones, and all dead ones are selected beside them: a dead kernel
    can neither be missed nor, alone, learn anything. Raises ValueError for a fraction outside
    [0, 1], a phi that is not a number >= 0, or `alive` without a fraction or of other kernels.
    """
    values = {}
    for name, score in scores.items():
        values[name] = torch.as_tensor(score, dtype=torch.float64)

    if fraction is not None:
        return _smallest(values, fraction, alive)

    if alive is not None:
        raise ValueError("alive: is for a fraction, got phi")

    if not phi >= 0:
        raise ValueError(f"phi: expected a number >= 0, got {phi}")
    return {name: value < phi for name, value in values.items()}


def consumer_weight(conv: nn.Module) -> Tensor:
    """A convolution's weight as (N, C, ...), C counting all its input channels, groups and
    transposition undone.
    """
    weight = weight_of(conv)
    n_groups: int = conv.groups  # type: ignore[assignment]
    n_rows, n_columns, *kernel_axes = weight.shape

    by_group = weight.reshape(n_groups, -1, n_columns, *kernel_axes)
    if getattr(conv, "transposed", False):
        # (G, C / G, N / G, ...) -> (N / G, G, C / G, ...)
        per_output = by_group.movedim(2, 0)
        n_outputs = n_columns
    else:
        # (G, N / G, C / G, ...) -> (N / G, G, C / G, ...)
        per_output = by_group.movedim(1, 0)
        n_outputs = n_rows // n_groups

    return per_output.reshape(n_outputs, -1, *kernel_axes)


def _by_producer(
    model: nn.Module, connected: Connections, k: int, alpha: float
) -> dict[str, kse.Components]:
    """Components of each kernel's most sensitive consumer by producer; KSE is NO_CONSUMER where no
    convolution reads the kernel.
    """
    of_consumers: dict[str, kse.Components] = {}
    of_producers: dict[str, kse.Components] = {}

    for link in connected.links:
        if link.producer == NETWORK_INPUT:
            continue

        if link.consumer not in of_consumers:
            conv = model.get_submodule(link.consumer)
            components = kse.components(consumer_weight(conv), k=k, alpha=alpha)
            on_cpu = [part.cpu() for part in components]
            of_consumers[link.consumer] = kse.Components(*on_cpu)

        consumer = of_consumers[link.consumer]
        seen = _most_sensitive_channel(consumer, link.reach)
        if link.producer in of_producers:
            seen = _larger(of_producers[link.producer], seen)

        of_producers[link.producer] = seen

    return of_producers


def _most_sensitive_channel(consumer: kse.Components, reach: Tensor) -> kse.Components:
    """Components of the consumer's channel with the largest KSE that each producer kernel reaches;
    KSE is NO_CONSUMER where it reaches none.
    """
    reached_kse = torch.where(reach, consumer.kse, NO_CONSUMER)
    channel = reached_kse.argmax(dim=1)
    largest_kse, _ = reached_kse.max(dim=1)

    sparsity = consumer.sparsity[channel]
    entropy = consumer.entropy[channel]
    reaches_none = ~reach.any(dim=1)

    return kse.Components(
        torch.where(reaches_none, torch.nan, sparsity),
        torch.where(reaches_none, torch.nan, entropy),
        largest_kse,
    )


def _larger(a: kse.Components, b: kse.Components) -> kse.Components:
    """For each kernel the components whose KSE is larger."""
    a_is_larger = a.kse >= b.kse
    return kse.Components(
        torch.where(a_is_larger, a.sparsity, b.sparsity),
        torch.where(a_is_larger, a.entropy, b.entropy),
        torch.where(a_is_larger, a.kse, b.kse),
    )


def _smallest(
    values: Mapping[str, Tensor], fraction: float, alive: Mapping[str, Any] | None
) -> dict[str, Tensor]:
    """The `fraction` of all kernels of the network with the smallest KSE; of equals the first.

    With `alive`: all dead kernels, and that fraction of the others.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction: expected a share in [0, 1], got {fraction}")
    if not values:
        return {}

    all_kernels = torch.cat(list(values.values()))
    dead = torch.zeros(len(all_kernels), dtype=torch.bool)
    if alive is not None:
        dead = ~torch.cat([_alive_in(alive, name, len(v)) for name, v in values.items()])

    # Dead ones come first, then the others by KSE.
    n_dead = int(dead.sum())
    n_selected = n_dead + round(fraction * (len(all_kernels) - n_dead))
    ascending = torch.where(dead, -torch.inf, all_kernels).argsort(stable=True)

    selected = torch.zeros(len(all_kernels), dtype=torch.bool)
    selected[ascending[:n_selected]] = True

    kernels_per_module = [len(value) for value in values.values()]
    by_module = selected.split(kernels_per_module)
    return dict(zip(values, by_module, strict=True))


def _alive_in(alive: Mapping[str, Any], module: str, n_kernels: int) -> Tensor:
    if module not in alive:
        raise ValueError(f"alive: {module} is missing, which has scores")

    kernels = torch.as_tensor(alive[module]).cpu()
    if kernels.dtype != torch.bool or tuple(kernels.shape) != (n_kernels,):
        raise ValueError(
            f"alive: {module}: expected {n_kernels} booleans, "
            f"got {kernels.dtype} {tuple(kernels.shape)}"
        )

    return kernels
