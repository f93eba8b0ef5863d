"""Adapting a trained network: fine-tuning its last blocks, held to its base or not, or TGD on its
redundant kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..config.sections import NetworkEntry, Training
from ..dataset.patches import PatchData
from ..dataset.replay import Mixed
from ..networks.architecture import SLICES
from ..tgd.layer import TGD
from ..tgd.masks import accumulate, bits_equal
from .baselines import Old, choose_kernels, fit_held
from .loop import Patches, TrainingRun, fit


@dataclass(frozen=True)
class Adapted:
    """The log's rows, the mask (module -> channels that could move) and the numbers for the
    sidecar.
    """

    rows: list[dict[str, Any]]
    mask: dict[str, list[int]]
    numbers: dict[str, Any]


def adapt(
    model: nn.Module,
    entry: NetworkEntry,
    scores: Mapping[str, np.ndarray] | None,
    data: PatchData,
    validation: PatchData | None,
    settings: Training,
    run: TrainingRun,
    *,
    sparsity: Mapping[str, np.ndarray] | None = None,
    old: Old | None = None,
    seed: int = 0,
    previous: Mapping[str, Tensor] | None = None,
) -> Adapted:
    """Adapt `model` in place as `entry` says.

    `scores` (KSE) are for tgd, with `sparsity` for its mask l1 and `previous`, the base's own mask,
    for accumulate; `old` for replay and penalties; `seed` decides random masks and which old slices
    are replayed. Raises ValueError where one is needed and missing, or does not fit.
    """
    if entry.method == "finetune":
        return finetune(model, entry, data, validation, settings, run, old, seed)
    if entry.method != "tgd":
        raise ValueError(
            f"{run.name}: method: {entry.method!r} adapts nothing; allowed is finetune or tgd"
        )
    if scores is None:
        raise ValueError(f"{run.name}: method tgd needs the kernels' scores (--scores)")
    masks = choose_kernels(scores, sparsity, entry, seed)
    if entry.accumulate:
        masks = accumulate(previous or {}, masks)
    model.to(data.device)
    example = torch.zeros(1, SLICES, 16, 16, device=data.device)
    with TGD(
        model, masks, flow=entry.flow, batchnorm=entry.batchnorm, example_input=example
    ) as tgd:
        rows = fit(model, data, validation, settings, run, tgd=tgd)
        numbers = {
            **tgd.counts(), "useful_unchanged": tgd.unchanged(), "mask": entry.mask,
            "phi": entry.phi, "fraction": entry.fraction, "flow": entry.flow, "batchnorm": entry.batchnorm,
            "accumulate": entry.accumulate,
        }  # fmt: skip
    if not numbers["useful_unchanged"]:
        raise RuntimeError(
            f"{run.name}: useful kernels changed during training; this is a defect of TGD"
        )
    return Adapted(rows, {n: m.nonzero()[:, 0].tolist() for n, m in masks.items()}, numbers)


def finetune(
    model: nn.Module, entry: NetworkEntry, data: PatchData, validation: PatchData | None, settings: Training, run: TrainingRun,
    old: Old | None = None, seed: int = 0,
) -> Adapted:  # fmt: skip
    """Retrain the last `entry.blocks` of `model.blocks` (Gong et al. 2018) and nothing else.

    `entry.penalty` holds what moves to its start; `entry.replay` mixes old slices in.
    """
    blocks: nn.ModuleList = model.blocks  # type: ignore[assignment]
    if entry.batchnorm == "per_channel":
        raise ValueError(
            f"{run.name}: batchnorm: per_channel belongs to tgd; finetune knows eval and train"
        )
    if entry.blocks > len(blocks):
        raise ValueError(
            f"{run.name}: blocks: {entry.blocks} were asked for, the network has {len(blocks)}"
        )
    moving = [p for block in blocks[-entry.blocks :] for p in block.parameters()]
    frozen = {n: p for n, p in model.named_parameters() if all(p is not m for m in moving)}
    fixed = {**frozen, **(dict(model.named_buffers()) if entry.batchnorm == "eval" else {})}
    before = {n: t.detach().cpu().clone() for n, t in fixed.items()}
    for parameter in frozen.values():
        parameter.requires_grad_(False)
    patches, replayed = _with_replay(data, entry, old, run, seed)
    rows, held = fit_held(model, moving, entry, patches, validation, old, settings, run)
    for parameter in frozen.values():
        parameter.requires_grad_(True)
    kernels = [[m.weight.shape[0] for m in b.modules() if isinstance(m, nn.Conv2d)] for b in blocks]
    first = len(blocks) - entry.blocks
    numbers = {
        "kernels_total": sum(map(sum, kernels)),
        "kernels_retrained": sum(map(sum, kernels[-entry.blocks :])),
        "parameters_total": sum(p.numel() for p in model.parameters()),
        "parameters_retrained": sum(p.numel() for p in moving),
        "useful_unchanged": all(bits_equal(t.detach().cpu(), before[n]) for n, t in fixed.items()),
        "blocks": entry.blocks, "batchnorm": entry.batchnorm, **replayed, **held,
    }  # fmt: skip
    mask = {
        f"blocks.{i}.{n}": list(range(m.weight.shape[0]))
        for i in range(first, len(blocks))
        for n, m in blocks[i].named_modules()
        if isinstance(m, nn.Conv2d)
    }
    return Adapted(rows, mask, numbers)


def _with_replay(
    data: PatchData, entry: NetworkEntry, old: Old | None, run: TrainingRun, seed: int
) -> tuple[Patches, dict[str, Any]]:
    if entry.replay == 0:
        return data, {}
    if old is None:
        raise ValueError(f"{run.name}: replay: {entry.replay:g} needs the old task's data (--old)")
    mixed = Mixed(data, old.train, entry.replay, seed)
    return mixed, {"replay": entry.replay, "old_slices": len(mixed.kept), "new_slices": len(data)}
