"""What TGD is compared with: penalties that hold a network to its base, and other choices of
kernels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..config.sections import PENALTIES, NetworkEntry, Training
from ..dataset.patches import Batch, PatchData
from ..runtime.seeds import torch_generator
from ..tgd.scoring import select
from .log import write_log
from .loop import Patches, Penalty, TrainingRun, fit, task_loss
from .tradeoff import FORGETTING_ALLOWED, chosen

FISHER_PATCHES = 256


@dataclass(frozen=True)
class Old:
    """The old task's patches: those that the base network was trained on, and those that were held
    out from it.
    """

    train: PatchData
    held_out: PatchData

    @property
    def judges(self) -> PatchData:
        """The patches that forgetting is measured on: held out, or of training where none are."""
        return self.held_out if len(self.held_out) else self.train


def fisher(
    model: nn.Module, parameters: Sequence[nn.Parameter], old: PatchData, patches: int
) -> list[Tensor]:
    """Diagonal Fisher information of each parameter: mean over `patches` of its squared gradient of
    one patch's MSE.

    For a Gaussian likelihood and the targets as they are (Kirkpatrick et al. 2017, eq. 3), up to a
    factor that the penalty's strength takes up. The network is in evaluation mode; the same patches
    every time.
    """
    model.eval()
    total = [torch.zeros_like(p) for p in parameters]
    rows = old.epoch_order(0, patches)
    for number, row in enumerate(rows.split(1)):
        batch = old.batch(row, number)
        loss = functional.mse_loss(model(batch.noisy), batch.target)
        for value, gradient in zip(total, torch.autograd.grad(loss, list(parameters)), strict=True):
            value += gradient.detach() ** 2
    return [value / patches for value in total]


def quadratic(
    parameters: Sequence[nn.Parameter], importance: Sequence[Tensor] | None, strength: float
) -> Penalty:
    """strength / 2 * sum F (w - w0)^2, with w0 the parameters now and F their `importance`.

    EWC (Kirkpatrick et al. 2017) with F the Fisher information; L2-SP (Li et al. 2018) with none, F
    = 1: every layer is shared with the base, as the new task has the same output.
    """
    start = [p.detach().clone() for p in parameters]
    weight = importance if importance is not None else [torch.ones_like(s) for s in start]

    def penalty(batch: Batch, output: Tensor) -> Tensor:
        parts = [
            (f * (p - s) ** 2).sum() for f, p, s in zip(weight, parameters, start, strict=True)
        ]
        return 0.5 * strength * torch.stack(parts).sum()

    return penalty


def distillation(model: nn.Module, strength: float) -> Penalty:
    """strength * MSE(f(x), f0(x)) on the new inputs x, with f0 the network now in evaluation mode.

    Learning without forgetting (Li and Hoiem 2016), whose softened class probabilities become the
    denoised patch.
    """
    teacher = copy.deepcopy(model).eval()

    def penalty(batch: Batch, output: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = teacher(batch.noisy)
        return strength * functional.mse_loss(output, wanted)

    return penalty


def fit_held(
    model: nn.Module,
    moving: Sequence[nn.Parameter],
    entry: NetworkEntry,
    data: Patches,
    validation: PatchData | None,
    old: Old | None,
    settings: Training,
    run: TrainingRun,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Train `moving` under the entry's penalty; the log's rows and, for the sidecar, what was used.

    A strength that is not given is chosen of `PENALTIES`: all are trained with, and the one that
    `chosen` names is kept, by the losses on old and new data held out (on training data where none
    are held out).
    """
    if entry.penalty == "none":
        return fit(
            model, data, validation, settings, run, parameters=moving, batchnorm=entry.batchnorm
        ), {}
    model.to(data.device)
    weights, numbers = _importance(model, moving, entry, old, run)

    def trained(strength: float, own: TrainingRun) -> list[dict[str, Any]]:
        penalty = (
            distillation(model, strength)
            if entry.penalty == "lwf"
            else quadratic(moving, weights, strength)
        )
        return fit(
            model,
            data,
            validation,
            settings,
            own,
            parameters=moving,
            batchnorm=entry.batchnorm,
            penalty=penalty,
        )

    if entry.strength is not None:
        return trained(entry.strength, run), {**numbers, "strength": entry.strength}
    if old is None:
        raise ValueError(
            f"{run.name}: strength: missing; to choose it the old task's data are needed (--old)"
        )
    judge = validation if validation is not None and len(validation) else data
    rows, found = _best(model, trained, PENALTIES[entry.penalty], old.judges, judge, settings, run)
    held_out = {"old_loss_held_out": len(old.held_out) > 0, "new_loss_held_out": judge is not data}
    return rows, {**numbers, **found, **held_out}


def _best(
    model: nn.Module,
    trained: Callable[[float, TrainingRun], list[dict[str, Any]]],
    strengths: Sequence[float],
    old: Patches,
    new: Patches,
    settings: Training,
    run: TrainingRun,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Train the model with every strength from the same start, and leave the chosen one's weights
    and log.
    """
    start, base_loss = _copy(model), task_loss(model, old, settings)
    tried, ends = [], []
    for strength in strengths:
        model.load_state_dict(start)
        rows = trained(strength, _candidate(run, strength))
        losses = {
            "old_loss": task_loss(model, old, settings),
            "new_loss": task_loss(model, new, settings),
        }
        tried.append({"strength": strength, **losses})
        ends.append((_copy(model), rows))
    best = chosen(tried, base_loss, min(tried, key=lambda t: t["strength"])["old_loss"])
    weights, rows = ends[best]
    model.load_state_dict(weights)
    if run.world.first:
        write_log(run.log, rows)
    return rows, {
        "strength": tried[best]["strength"], "strengths_tried": tried,
        "old_loss_of_base": base_loss, "forgetting_allowed": FORGETTING_ALLOWED,
    }  # fmt: skip


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {n: t.detach().clone() for n, t in model.state_dict().items()}


def choose_kernels(
    scores: Mapping[str, np.ndarray],
    sparsity: Mapping[str, np.ndarray] | None,
    entry: NetworkEntry,
    seed: int,
) -> dict[str, Tensor]:
    """True = to be retrained: by KSE, or in each module as many as KSE would, by smallest L1 norm
    or by chance.

    `sparsity` is KSE's first term, the L1 norm of what reads a kernel. Raises ValueError where
    `mask: l1` lacks it.
    """
    masks = select({n: torch.from_numpy(v) for n, v in scores.items()}, entry.phi, entry.fraction)
    if entry.mask == "kse":
        return masks
    if entry.mask == "l1" and sparsity is None:
        raise ValueError(
            "mask: l1 needs the kernels' sparsity, a column of the score table (--scores)"
        )
    out = {}
    for name, mask in masks.items():
        if entry.mask == "random" or sparsity is None:
            order = torch.randperm(len(mask), generator=torch_generator(seed, "mask", name))
        else:
            order = torch.from_numpy(np.argsort(sparsity[name], kind="stable"))
        out[name] = torch.zeros_like(mask)
        out[name][order[: int(mask.sum())]] = True
    return out


def _importance(
    model: nn.Module,
    moving: Sequence[nn.Parameter],
    entry: NetworkEntry,
    old: Old | None,
    run: TrainingRun,
) -> tuple[list[Tensor] | None, dict[str, Any]]:
    """EWC's Fisher information over its mean, so that a strength means the same whatever the loss's
    scale.
    """
    if entry.penalty != "ewc":
        return None, {"penalty": entry.penalty}
    if old is None:
        raise ValueError(f"{run.name}: penalty: ewc needs the old task's data (--old)")
    values = fisher(model, moving, old.train, FISHER_PATCHES)
    mean = float(torch.cat([v.flatten() for v in values]).double().mean())
    if not mean > 0:
        raise ValueError(
            f"{run.name}: penalty: ewc: the Fisher information is {mean} on average; expected > 0"
        )
    return [v / mean for v in values], {
        "penalty": "ewc",
        "fisher_patches": FISHER_PATCHES,
        "fisher_mean": mean,
    }


def _candidate(run: TrainingRun, strength: float) -> TrainingRun:
    """The run of one strength: with a checkpoint of its own, which stays until the whole is
    done.
    """
    checkpoint = run.checkpoint and run.checkpoint.with_name(
        candidate_name(run.checkpoint.stem, f"{strength:g}")
    )
    board = run.tensorboard and run.tensorboard / f"strength-{strength:g}"
    return replace(
        run, name=f"{run.name}, strength {strength:g}", checkpoint=checkpoint, tensorboard=board
    )


def candidate_name(stem: str, strength: str = "*") -> str:
    """File name (or pattern) of a candidate's checkpoint; no network's own name has a dot in it."""
    return f"{stem}.strength-{strength}.safetensors"
