"""KSE of every kernel of any network, as the convolutions that read it see it, and the choice of
the redundant ones.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from . import kse
from .connectivity import INPUT, Connections, connections


def consumer_weight(conv: nn.Module) -> Tensor:
    """A convolution's weight as (N, C, ...), C counting all its input channels, groups and
    transposition undone.
    """
    weight: Tensor = conv.weight  # type: ignore[assignment]
    groups: int = conv.groups  # type: ignore[assignment]
    if getattr(conv, "transposed", False):
        parts = weight.reshape(groups, -1, *weight.shape[1:])  # (G, C/G, N/G, ...)
        return parts.movedim(2, 0).reshape(weight.shape[1], -1, *weight.shape[2:])
    parts = weight.reshape(groups, -1, *weight.shape[1:])  # (G, N/G, C/G, ...)
    return parts.movedim(1, 0).reshape(weight.shape[0] // groups, -1, *weight.shape[2:])


def score_components(
    model: nn.Module,
    example_input: Any,
    *,
    k: int = 5,
    alpha: float = 1.0,
    unused: Collection[str] = (),
) -> dict[str, kse.Components]:
    """Sparsity, entropy and KSE of each output kernel by module, from the consumer that needs it
    most.

    float64 (N,) on the CPU; computed where the weights are. Protected (KSE 1) are, in a module that
    has consumers, kernels that none of them reads and kernels that also reach the network's output
    with no convolution between. Raises TraceError (a ValueError) naming the module that cannot be
    traced.
    """
    found = connections(model, example_input, unused=unused)
    read = _by_readers(model, found, k, alpha)
    out = {}
    for name in (n for n, _ in model.named_modules() if n in read):
        table = read[name]
        protected = table.kse < 0
        if name in found.outputs:
            protected = protected | found.outputs[name]
        out[name] = table._replace(kse=torch.where(protected, 1.0, table.kse))
    return out


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
    return {
        n: c.kse
        for n, c in score_components(model, example_input, k=k, alpha=alpha, unused=unused).items()
    }


def select(
    scores: Mapping[str, Any], phi: float = 0.3, fraction: float | None = None
) -> dict[str, Tensor]:
    """True = redundant, to be retrained: KSE < phi (strictly), or the `fraction` of all kernels
    with the smallest KSE.

    phi = 0 selects nothing. Raises ValueError for a fraction outside [0, 1] or a phi that is not a
    number >= 0.
    """
    tensors = {n: torch.as_tensor(s, dtype=torch.float64) for n, s in scores.items()}
    if fraction is None:
        if not phi >= 0:
            raise ValueError(f"phi: expected a number >= 0, got {phi}")
        return {n: s < phi for n, s in tensors.items()}
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction: expected a share in [0, 1], got {fraction}")
    if not tensors:
        return {}
    everything = torch.cat(list(tensors.values()))
    chosen = torch.zeros(len(everything), dtype=torch.bool)
    chosen[everything.argsort(stable=True)[: round(fraction * len(everything))]] = True
    return dict(zip(tensors, chosen.split([len(s) for s in tensors.values()]), strict=True))


def _by_readers(
    model: nn.Module, found: Connections, k: int, alpha: float
) -> dict[str, kse.Components]:
    """Components of each kernel's neediest reader by producer; KSE -1 where no convolution reads
    it.
    """
    seen: dict[str, kse.Components] = {}
    out: dict[str, kse.Components] = {}
    for link in found.links:
        if link.producer == INPUT:
            continue
        if link.consumer not in seen:
            parts = kse.components(
                consumer_weight(model.get_submodule(link.consumer)), k=k, alpha=alpha
            )
            seen[link.consumer] = kse.Components(*(p.cpu() for p in parts))
        best = _largest(seen[link.consumer], link.reach)
        out[link.producer] = _larger(out[link.producer], best) if link.producer in out else best
    return out


def _largest(consumer: kse.Components, reach: Tensor) -> kse.Components:
    """Components of the neediest consumer channel that each producer kernel reaches; KSE -1 where
    there is none.
    """
    value = torch.where(reach, consumer.kse, -1.0)
    best = value.argmax(dim=1)
    none = ~reach.any(dim=1)
    sparsity, entropy = (torch.where(none, torch.nan, c[best]) for c in consumer[:2])
    return kse.Components(sparsity, entropy, value.max(dim=1).values)


def _larger(a: kse.Components, b: kse.Components) -> kse.Components:
    first = a.kse >= b.kse
    return kse.Components(*(torch.where(first, x, y) for x, y in zip(a, b, strict=True)))
