"""What norm layers with running statistics do while TGD is attached: they use those, or batch
normalisation uses the batch's for the targeted channels alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .kept_state import Place
from .layer_kinds import BATCHNORM_LAYERS, INSTANCENORM_LAYERS


def statistics_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every batch normalisation of the model, and every instance normalisation that tracks running
    statistics, with its name.
    """
    for name, module in model.named_modules():
        tracks = getattr(module, "track_running_stats", False)
        if isinstance(module, BATCHNORM_LAYERS) or (
            isinstance(module, INSTANCENORM_LAYERS) and tracks
        ):
            yield name, module


def use_running_statistics(norm: nn.Module, args: Any) -> None:
    """A forward pre-hook: running statistics, whatever mode a loop puts the model in."""
    norm.training = False


def mixed_statistics_hook(
    model: nn.Module,
    targeted_channels: Callable[[], Tensor | None],
    place_of_mean: Place,
    place_of_var: Place,
) -> Callable[..., Tensor]:
    """A forward hook: batch statistics for the targeted channels, the running ones of the start for
    the others; running statistics of the targeted channels follow the batches.

    Nothing of it while `model` is in evaluation mode, or where no channel is targeted.
    """

    def hook(norm: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        targeted = targeted_channels()
        if targeted is None or not model.training:
            return output

        start_mean = place_of_mean.fit(norm.running_mean)
        start_var = place_of_var.fit(norm.running_var)
        norm.num_batches_tracked += 1

        # Without a momentum, the mean of all batches.
        cumulative = norm.momentum is None
        momentum = 1.0 / int(norm.num_batches_tracked) if cumulative else norm.momentum

        mean = norm.running_mean.clone()
        var = norm.running_var.clone()
        by_batch = functional.batch_norm(
            args[0],
            mean,  # it and var follow the batch
            var,
            norm.weight,
            norm.bias,
            True,
            momentum,
            norm.eps,
        )

        with torch.no_grad():
            norm.running_mean.copy_(torch.where(targeted, mean, start_mean))
            norm.running_var.copy_(torch.where(targeted, var, start_var))

        by_start = functional.batch_norm(
            args[0],
            start_mean,
            start_var,
            norm.weight,
            norm.bias,
            False,
            0.0,
            norm.eps,
        )

        n_spatial = output.ndim - 2
        follows_batch = over_channels(targeted, output, n_spatial)
        return torch.where(follows_batch, by_batch, by_start)

    return hook


def over_channels(mask: Tensor, output: Tensor, n_spatial: int) -> Tensor:
    """A mask (channels,) such that it broadcasts over an output of `n_spatial` axes after the
    channels; an unbatched output has no axis before them.
    """
    spatial_axes = [1] * n_spatial
    on_device = mask.to(output.device)
    return on_device.reshape(-1, *spatial_axes)
