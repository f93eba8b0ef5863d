"""Proof of what an adaptation left alone: two networks compared bit for bit, from their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..networks.architecture import SLICES
from ..tgd.connectivity import following_norms
from ..tgd.layer_kinds import CONVS
from ..tgd.masks import INTEGER_OF_SIZE
from ..tgd.targets import targeted_entries
from .adapt import EXAMPLE_PIXELS


@dataclass(frozen=True)
class LayerChange:
    """Output kernels of a convolution: all, those that were open, those with a bit that changed."""

    module: str
    kernels: int
    opened: int
    moved: int


@dataclass(frozen=True)
class BitComparison:
    """Counts of single numbers: parameters that were open and how many of these changed; those that
    were not, and how many of these have the same bits; the same of running statistics.
    """

    opened: int
    opened_changed: int
    kept: int
    kept_same: int
    statistics: int
    statistics_same: int
    layers: list[LayerChange]

    @property
    def holds(self) -> bool:
        """Whether all that was not open has the same bits."""
        return self.kept_same == self.kept


def compare(
    before: nn.Module, after: nn.Module, mask: Mapping[str, Sequence[int]]
) -> BitComparison:
    """Compare two networks of one architecture; `mask` maps a module to its open output channels.

    With the channels of a convolution its batch normalisation's affine is open, too. Nothing of a
    training is asked: only the numbers before and after count.
    """
    opened = _opened_entries(before, mask)
    changed = _changed_entries(before, after)

    n_opened = n_opened_changed = n_kept = n_kept_same = 0
    for name, parameter in before.named_parameters():
        entries = opened.get(name, torch.zeros_like(parameter, dtype=torch.bool))
        n_opened += int(entries.sum())
        n_opened_changed += int((changed[name] & entries).sum())
        n_kept += int((~entries).sum())
        n_kept_same += int((~changed[name] & ~entries).sum())

    statistics = [changed[name] for name, _ in before.named_buffers()]
    return BitComparison(
        opened=n_opened,
        opened_changed=n_opened_changed,
        kept=n_kept,
        kept_same=n_kept_same,
        statistics=sum(same.numel() for same in statistics),
        statistics_same=sum(int((~entries).sum()) for entries in statistics),
        layers=_layers(before, mask, changed),
    )


def _opened_entries(model: nn.Module, mask: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """What of each parameter was open: bool, of the parameter's shape."""
    channels = {}
    for module, opened in mask.items():
        conv: nn.Conv2d = model.get_submodule(module)  # type: ignore[assignment]
        channels[module] = torch.zeros(conv.out_channels, dtype=torch.bool)
        channels[module][list(opened)] = True

    example = torch.zeros(1, SLICES, EXAMPLE_PIXELS, EXAMPLE_PIXELS)
    for conv_name, norms in following_norms(model, example).items():
        if conv_name in channels:
            channels.update(dict.fromkeys(norms, channels[conv_name]))

    parameters = dict(model.named_parameters())
    targeted = targeted_entries(model, channels)
    return {name: entries.mask.expand_as(parameters[name]) for name, entries in targeted.items()}


def _changed_entries(before: nn.Module, after: nn.Module) -> dict[str, Tensor]:
    """Where the bits of two networks differ, by the name of each tensor; -0.0 is not 0.0."""
    state = after.state_dict()
    changed = {}
    for name, tensor in before.state_dict().items():
        integer = INTEGER_OF_SIZE[tensor.element_size()]
        changed[name] = tensor.view(integer) != state[name].view(integer)

    return changed


def _layers(
    model: nn.Module, mask: Mapping[str, Sequence[int]], changed: Mapping[str, Tensor]
) -> list[LayerChange]:
    layers = []
    for name, module in model.named_modules():
        if not isinstance(module, CONVS):
            continue

        moved = changed[f"{name}.weight"].flatten(1).any(1)
        opened = len(mask.get(name, ()))
        layers.append(LayerChange(name, len(moved), opened, int(moved.sum())))

    return layers
