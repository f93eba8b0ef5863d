"""The drop experiment of Fig. 4: what is lost when the kernels below a KSE threshold are
silenced.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from ..tgd import connectivity
from ..tgd.layer_kinds import CONVS
from .architecture import SLICES
from .denoise import denoise


def without_kernels(
    model: nn.Module,
    masks: Mapping[str, torch.Tensor],
    links: Sequence[connectivity.Link] | None = None,
) -> nn.Module:
    """A copy of `model` in which nothing reads the masked kernels' outputs.

    Zeroing the consumer's weights, not the kernel's own, as batch normalisation would turn a zero
    kernel into a constant. `links`: which kernel feeds which consumer, where it is known already
    (`connectivity.links`).
    """
    if links is None:
        links = connectivity.links(model, _example(model))

    silenced = copy.deepcopy(model)
    device = next(model.parameters()).device

    for link in links:
        if link.producer not in masks:
            continue

        channels = link.reach[masks[link.producer]].any(dim=0)
        consumer: Any = silenced.get_submodule(link.consumer)

        with torch.no_grad():
            consumer.weight[:, channels.to(device)] = 0

    return silenced


def count_dropped(
    model: nn.Module,
    masks: Mapping[str, torch.Tensor],
    norms: Mapping[str, Sequence[str]] | None = None,
) -> tuple[int, int]:
    """Kernels and parameters that dropping removes: the kernels' own weights, biases and
    normalisation.

    `norms`: the layers that normalise each convolution's output, where they are known already
    (`connectivity.following_norms`).
    """
    if norms is None:
        norms = connectivity.following_norms(model, _example(model))

    n_kernels = 0
    n_parameters = 0

    for conv, mask in masks.items():
        n_masked = int(mask.sum())
        n_kernels += n_masked

        for name in [conv, *norms.get(conv, [])]:
            for parameter in model.get_submodule(name).parameters(recurse=False):
                per_kernel = parameter.numel() // parameter.shape[0]
                n_parameters += per_kernel * n_masked

    return n_kernels, n_parameters


def experiment(
    model: nn.Module,
    scores: Mapping[str, np.ndarray],
    image: np.ndarray,
    reference: np.ndarray,
    thresholds: list[float],
    scale: float,
    device: torch.device,
    on_slices: Callable[[int], None] = lambda n: None,
) -> tuple[list[dict[str, Any]], dict[float, np.ndarray]]:
    """Denoise `image` with the whole network (phi = 0) and with kernels below each threshold
    dropped.

    Returns the table's rows and the images (X, Y, Z) by phi; errors are RMSE in Bq/mL over the body
    (reference above 5 % of its 99th percentile).
    """
    body = reference > 0.05 * np.percentile(reference, 99)

    if not body.any():
        raise ValueError(
            f"drop: the reference image is empty, its largest value is {reference.max():g} Bq/mL"
        )

    links = connectivity.links(model, _example(model))
    norms = connectivity.following_norms(model, _example(model))
    n_kernels = sum(conv.out_channels for conv in model.modules() if isinstance(conv, CONVS))
    n_parameters = sum(parameter.numel() for parameter in model.parameters())

    images: dict[float, np.ndarray] = {}
    rows = []

    for phi in [0.0, *thresholds]:
        masks = {name: torch.from_numpy(kse < phi) for name, kse in scores.items()}
        silenced = without_kernels(model, masks, links)
        images[phi] = denoise(silenced, image, scale, device, on_slices)

        kernels_dropped, parameters_dropped = count_dropped(model, masks, norms)
        undropped_body = images[0.0][body]
        change_bqml = _rmse(images[phi] - images[0.0], body)

        rows.append(
            {
                "phi": phi,
                "kernels_dropped": kernels_dropped,
                "kernels_total": n_kernels,
                "parameters_dropped": parameters_dropped,
                "parameters_total": n_parameters,
                "rmse_to_undropped_bqml": change_bqml,
                "rmse_to_reference_bqml": _rmse(images[phi] - reference, body),
                "relative_change": change_bqml / float(undropped_body.mean()),
            }
        )

    return rows, images


def _rmse(difference: np.ndarray, body: np.ndarray) -> float:
    """Root mean square of a difference image within the body, in its unit."""
    return float(np.sqrt((difference[body] ** 2).mean()))


def _example(model: nn.Module) -> torch.Tensor:
    return torch.zeros(1, SLICES, 16, 16, device=next(model.parameters()).device)
