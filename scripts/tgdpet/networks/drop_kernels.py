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
from .architecture import SLICES
from .denoise import denoise


def dropped(
    model: nn.Module,
    masks: Mapping[str, torch.Tensor],
    links: Sequence[connectivity.Link] | None = None,
) -> nn.Module:
    """A copy of `model` in which nothing reads the masked kernels' outputs.

    Zeroing the reader's weights, not the kernel's own, as batch normalisation would turn a zero
    kernel into a constant. `links`: who reads whom, where it is known already (`probe.links`).
    """
    out = copy.deepcopy(model)
    modules = dict(out.named_modules())
    weight = next(model.parameters())
    for link in connectivity.links(model, _example(model)) if links is None else links:
        if link.producer in masks:
            read = link.reach[masks[link.producer]].any(dim=0)
            with torch.no_grad():
                modules[link.consumer].weight[:, read.to(weight.device)] = 0
    return out


def count(
    model: nn.Module,
    masks: Mapping[str, torch.Tensor],
    norms: Mapping[str, Sequence[str]] | None = None,
) -> tuple[int, int]:
    """Kernels and parameters that dropping removes: the kernels' own weights, biases and
    normalisation.

    `norms`: the layers that normalise each convolution's output, where they are known already
    (`probe.followers`).
    """
    modules, parameters = dict(model.named_modules()), 0
    norms = connectivity.followers(model, _example(model)) if norms is None else norms
    for name, mask in masks.items():
        for owner in [name, *norms.get(name, [])]:
            parameters += sum(
                p.numel() // p.shape[0] * int(mask.sum())
                for p in modules[owner].parameters(recurse=False)
            )
    return sum(int(m.sum()) for m in masks.values()), parameters


def experiment(
    model: nn.Module,
    scores: Mapping[str, np.ndarray],
    image: np.ndarray,
    reference: np.ndarray,
    thresholds: list[float],
    scale: float,
    device: torch.device,
    step: Callable[[int], None] = lambda n: None,
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
    links, norms = (
        connectivity.links(model, _example(model)),
        connectivity.followers(model, _example(model)),
    )
    images: dict[float, np.ndarray] = {}
    rows = []
    for phi in [0.0, *thresholds]:
        masks = {n: torch.from_numpy(v < phi) for n, v in scores.items()}
        images[phi] = denoise(dropped(model, masks, links), image, scale, device, step)
        kernels, parameters = count(model, masks, norms)
        change = float(np.sqrt(((images[phi] - images[0.0])[body] ** 2).mean()))
        rows.append({
            "phi": phi,
            "kernels_dropped": kernels,
            "kernels_total": sum(m.out_channels for m in model.modules() if isinstance(m, connectivity.CONVS)),
            "parameters_dropped": parameters,
            "parameters_total": sum(p.numel() for p in model.parameters()),
            "rmse_to_undropped_bqml": change,
            "rmse_to_reference_bqml": float(np.sqrt(((images[phi] - reference)[body] ** 2).mean())),
            "relative_change": change / float(images[0.0][body].mean()),
        })  # fmt: skip
    return rows, images


def _example(model: nn.Module) -> torch.Tensor:
    return torch.zeros(1, SLICES, 16, 16, device=next(model.parameters()).device)
