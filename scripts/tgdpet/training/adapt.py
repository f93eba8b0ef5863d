"""Adapting a trained network to new data.

Fine-tuning of its last blocks, regularised towards its base or not, or TGD on its redundant
kernels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..config.sections import NetworkEntry, Training
from ..dataset.replay import Mixed
from ..networks.architecture import SLICES
from ..tgd.alive import alive_kernels
from ..tgd.layer import TGD
from ..tgd.masks import accumulate, bits_equal
from .baselines import choose_kernels, fit_regularised
from .loop import fit
from .run import TrainingResult, TrainingRun
from .tasks import Task

EXAMPLE_PIXELS = 16  # of a side of the input that shows TGD how the layers are connected


@dataclass(frozen=True)
class KernelScores:
    """What is known of the base's kernels: module -> a value for each output kernel.

    `kse` chooses the redundant ones. `sparsity`, KSE's first term, is for masks by L1 norm;
    `previous`, the mask that the base itself was retrained with, for masks that accumulate;
    `alive` (bool), for a fraction of those.
    """

    kse: Mapping[str, np.ndarray]
    sparsity: Mapping[str, np.ndarray] | None = None
    previous: Mapping[str, Tensor] = field(default_factory=dict)
    alive: Mapping[str, np.ndarray] | None = None


def adapt_network(
    model: nn.Module,
    entry: NetworkEntry,
    new: Task,
    settings: Training,
    run: TrainingRun,
    *,
    scores: KernelScores | None = None,
    old: Task | None = None,
    seed: int = 0,
) -> TrainingResult:
    """Adapt `model` in place to the `new` task as `entry` says.

    `scores` are for tgd; `old`, the task that the base was trained for, is for replay and
    penalties; `seed` decides random masks and which old slices are replayed. Raises ValueError
    where one is needed and missing, or does not fit.
    """
    if entry.method == "finetune":
        return finetune(model, entry, new, settings, run, old=old, seed=seed)

    if entry.method == "tgd":
        return retrain_redundant(model, entry, new, settings, run, scores=scores, seed=seed)

    raise ValueError(
        f"{run.name}: method: {entry.method!r} adapts nothing; allowed is finetune or tgd"
    )


def retrain_redundant(
    model: nn.Module,
    entry: NetworkEntry,
    new: Task,
    settings: Training,
    run: TrainingRun,
    *,
    scores: KernelScores | None,
    seed: int = 0,
) -> TrainingResult:
    """Targeted Gradient Descent (Chen et al. 2021): retrain redundant kernels, and no other bit."""
    if scores is None:
        raise ValueError(f"{run.name}: method tgd needs the kernels' scores (--scores)")

    masks = choose_kernels(scores.kse, scores.sparsity, entry, seed, scores.alive)
    if entry.accumulate:
        masks = accumulate(scores.previous, masks)

    # Last, so that what an earlier round opened there stays, too.
    for name in list(scores.kse)[: entry.keep_blocks]:
        masks[name] = torch.zeros_like(masks[name])

    device = new.train.device
    model.to(device)
    example = torch.zeros(1, SLICES, EXAMPLE_PIXELS, EXAMPLE_PIXELS, device=device)
    with TGD(
        model, masks, flow=entry.flow, batchnorm=entry.batchnorm, example_input=example
    ) as tgd:
        tgd.alive = alive_kernels(model, example)
        for line in str(tgd).splitlines():
            run.announce(line)

        rows = fit(model, new.train, new.held_out, settings, run, tgd=tgd)
        numbers = {
            **tgd.counts(),
            "useful_unchanged": tgd.unchanged(),
            "mask": entry.mask,
            "phi": entry.phi,
            "fraction": entry.fraction,
            "fraction_of": entry.fraction_of,
            "keep_blocks": entry.keep_blocks,
            "flow": entry.flow,
            "batchnorm": entry.batchnorm,
            "accumulate": entry.accumulate,
        }

    if not numbers["useful_unchanged"]:
        raise RuntimeError(
            f"{run.name}: useful kernels changed during training; this is a defect of TGD"
        )

    channels = {name: _indices(mask) for name, mask in masks.items()}
    return TrainingResult(rows, channels, numbers)


def finetune(
    model: nn.Module,
    entry: NetworkEntry,
    new: Task,
    settings: Training,
    run: TrainingRun,
    *,
    old: Task | None = None,
    seed: int = 0,
) -> TrainingResult:
    """Retrain the last `entry.blocks` of `model.blocks` (Gong et al. 2018) and nothing else.

    `entry.penalty` regularises what moves towards its start; `entry.replay` mixes old slices in.
    """
    blocks: nn.ModuleList = model.blocks  # type: ignore[assignment]
    _check_finetuning(entry, len(blocks), run)
    moving = list(blocks[-entry.blocks :].parameters())
    frozen = _others(model, moving)

    # What has to have the same bits afterwards.
    fixed: dict[str, Tensor] = dict(frozen)
    if entry.batchnorm == "eval":
        fixed |= dict(model.named_buffers())
    before = {name: tensor.detach().cpu().clone() for name, tensor in fixed.items()}

    task, replayed = _with_replay(new, entry, old, run, seed)
    with _without_gradients(frozen.values()):
        rows, regularised = fit_regularised(model, moving, entry, task, old, settings, run)

    unchanged = [bits_equal(fixed[name].detach().cpu(), before[name]) for name in fixed]
    n_kernels = [_count_kernels(block) for block in blocks]
    numbers = {
        "kernels_total": sum(n_kernels),
        "kernels_retrained": sum(n_kernels[-entry.blocks :]),
        "parameters_total": sum(p.numel() for p in model.parameters()),
        "parameters_retrained": sum(p.numel() for p in moving),
        "useful_unchanged": all(unchanged),
        "blocks": entry.blocks,
        "batchnorm": entry.batchnorm,
        **replayed,
        **regularised,
    }
    return TrainingResult(rows, _channels_of_last(blocks, entry.blocks), numbers)


def _check_finetuning(entry: NetworkEntry, n_blocks: int, run: TrainingRun) -> None:
    if entry.batchnorm == "per_channel":
        raise ValueError(
            f"{run.name}: batchnorm: per_channel belongs to tgd; finetune knows eval and train"
        )

    if entry.blocks > n_blocks:
        raise ValueError(
            f"{run.name}: blocks: {entry.blocks} were asked for, the network has {n_blocks}"
        )


def _with_replay(
    new: Task, entry: NetworkEntry, old: Task | None, run: TrainingRun, seed: int
) -> tuple[Task, dict[str, Any]]:
    """The new task with old slices mixed in where `entry` says so; numbers for the sidecar."""
    if entry.replay == 0:
        return new, {}

    if old is None:
        raise ValueError(f"{run.name}: replay: {entry.replay:g} needs the old task's data (--old)")

    mixed = Mixed(new.train, old.train, entry.replay, seed)
    numbers = {
        "replay": entry.replay,
        "old_slices": len(mixed.kept),
        "new_slices": len(new.train),
    }
    return Task(mixed, new.held_out), numbers


@contextlib.contextmanager
def _without_gradients(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    parameters = list(parameters)
    for parameter in parameters:
        parameter.requires_grad_(False)

    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def _others(model: nn.Module, moving: Iterable[nn.Parameter]) -> dict[str, nn.Parameter]:
    """The parameters of the network that are not among `moving`, by name."""
    moving_ids = {id(p) for p in moving}

    return {n: p for n, p in model.named_parameters() if id(p) not in moving_ids}


def _indices(mask: Tensor) -> list[int]:
    indices: list[int] = mask.nonzero()[:, 0].tolist()
    return indices


def _count_kernels(block: nn.Module) -> int:
    """Output kernels of a block's convolutions."""
    convolutions = [m for m in block.modules() if isinstance(m, nn.Conv2d)]

    return sum(m.weight.shape[0] for m in convolutions)


def _channels_of_last(blocks: nn.ModuleList, count: int) -> dict[str, list[int]]:
    """Every output channel of every convolution in the last `count` blocks."""
    channels = {}
    for i in range(len(blocks) - count, len(blocks)):
        for name, module in blocks[i].named_modules():
            if isinstance(module, nn.Conv2d):
                channels[f"blocks.{i}.{name}"] = list(range(module.weight.shape[0]))

    return channels
