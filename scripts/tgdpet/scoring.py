"""KSE of every kernel of any network, as the convolutions that read it see it, and the choice of the redundant ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from . import kse
from .probe import INPUT, links


def consumer_weight(conv: nn.Module) -> Tensor:
    """A convolution's weight as (N, C, ...), C counting all its input channels, groups and transposition undone."""
    weight: Tensor = conv.weight  # type: ignore[assignment]
    groups: int = conv.groups  # type: ignore[assignment]
    if getattr(conv, "transposed", False):
        parts = weight.reshape(groups, -1, *weight.shape[1:])  # (G, C/G, N/G, ...)
        return parts.movedim(2, 0).reshape(weight.shape[1], -1, *weight.shape[2:])
    parts = weight.reshape(groups, -1, *weight.shape[1:])  # (G, N/G, C/G, ...)
    return parts.movedim(1, 0).reshape(weight.shape[0] // groups, -1, *weight.shape[2:])


def score_components(
    model: nn.Module, example_input: Any, *, k: int = 5, alpha: float = 1.0
) -> dict[str, kse.Components]:
    """Sparsity, entropy and KSE of each output kernel by module, from the consumer that needs it most.

    A kernel that no consumer reads, in a module that has consumers, is protected (KSE 1).
    Raises TraceError (a ValueError) naming the module that cannot be traced.
    """
    seen: dict[str, kse.Components] = {}
    out: dict[str, kse.Components] = {}
    for link in links(model, example_input):
        if link.producer == INPUT:
            continue
        if link.consumer not in seen:
            weight = consumer_weight(model.get_submodule(link.consumer)).detach().cpu()
            seen[link.consumer] = kse.components(weight, k=k, alpha=alpha)
        found = _largest(seen[link.consumer], link.reach)
        out[link.producer] = _larger(out[link.producer], found) if link.producer in out else found
    for name, table in out.items():
        out[name] = table._replace(kse=torch.where(table.kse < 0, 1.0, table.kse))
    order = [n for n, _ in model.named_modules()]
    return {n: out[n] for n in order if n in out}


def score_kernels(model: nn.Module, example_input: Any, *, k: int = 5, alpha: float = 1.0) -> dict[str, Tensor]:
    """KSE of each output kernel, as its consumers see it: module name -> float64 (N,) in [0, 1].

    The maximum over consumers: a kernel is redundant only if nobody needs it. A module that no
    convolution reads (the last one) is absent, and so stays frozen. `example_input` is a tensor, or a
    tuple or mapping of arguments, on which the network runs once. Raises TraceError naming the module.
    """
    return {n: c.kse for n, c in score_components(model, example_input, k=k, alpha=alpha).items()}


def select(scores: Mapping[str, Any], phi: float = 0.3, fraction: float | None = None) -> dict[str, Tensor]:
    """True = redundant, to be retrained: KSE < phi (strictly), or the `fraction` of all kernels with the smallest KSE.

    phi = 0 selects nothing. Raises ValueError for a fraction outside [0, 1] or a phi that is not a number >= 0.
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


def _largest(consumer: kse.Components, reach: Tensor) -> kse.Components:
    """Components of the neediest consumer channel that each producer kernel reaches; KSE -1 where there is none."""
    value = torch.where(reach, consumer.kse, -1.0)
    best = value.argmax(dim=1)
    none = ~reach.any(dim=1)
    sparsity, entropy = (torch.where(none, torch.nan, c[best]) for c in consumer[:2])
    return kse.Components(sparsity, entropy, value.max(dim=1).values)


def _larger(a: kse.Components, b: kse.Components) -> kse.Components:
    first = a.kse >= b.kse
    return kse.Components(*(torch.where(first, x, y) for x, y in zip(a, b, strict=True)))
