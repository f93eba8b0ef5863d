"""What TGD is compared with.

Penalties that regularise a network towards its base, and other choices of kernels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..config.chains import counts_alive
from ..config.sections import PENALTIES, NetworkEntry, Training
from ..dataset.patches import Batch, Patches
from ..runtime.seeds import torch_generator
from ..tgd.scoring import select
from .log import write_log
from .loop import Penalty, fit
from .run import TrainingRun
from .tasks import Task
from .tradeoff import FORGETTING_ALLOWED, chosen
from .validation import task_loss

FISHER_PATCHES = 256

Rows = list[dict[str, Any]]


def fisher(
    model: nn.Module, parameters: Sequence[nn.Parameter], old: Patches, patches: int
) -> list[Tensor]:
    """Diagonal Fisher information of each parameter, on `patches` of the old task.

    It is the mean over patches of the squared gradient of one patch's MSE: for a Gaussian
    likelihood and the targets as they are (Kirkpatrick et al. 2017, eq. 3), up to a factor that the
    penalty's strength takes up. The network is in evaluation mode; the same patches every time.
    """
    model.eval()
    total = [torch.zeros_like(p) for p in parameters]

    rows = old.epoch_order(0, patches)
    for number, row in enumerate(rows.split(1)):
        batch = old.batch(row, number)
        loss = functional.mse_loss(model(batch.noisy), batch.target)
        gradients = torch.autograd.grad(loss, list(parameters))

        for value, gradient in zip(total, gradients, strict=True):
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
    weight = [torch.ones_like(s) for s in start] if importance is None else importance

    def penalty(batch: Batch, output: Tensor) -> Tensor:
        parts = []
        for f, w, w0 in zip(weight, parameters, start, strict=True):
            parts.append((f * (w - w0) ** 2).sum())

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
            taught = teacher(batch.noisy)

        return strength * functional.mse_loss(output, taught)

    return penalty


def fit_regularised(
    model: nn.Module,
    moving: Sequence[nn.Parameter],
    entry: NetworkEntry,
    new: Task,
    old: Task | None,
    settings: Training,
    run: TrainingRun,
) -> tuple[Rows, dict[str, Any]]:
    """Train `moving` under the entry's penalty; the log's rows, and numbers for the sidecar.

    A strength that is not given is chosen of `PENALTIES`: all are trained with, and the one that
    `chosen` names is kept, by the losses on old and new data held out (on training data where none
    are held out).
    """

    def train(own_run: TrainingRun, penalty: Penalty | None) -> Rows:
        return fit(
            model,
            new.train,
            new.held_out,
            settings,
            own_run,
            parameters=moving,
            batchnorm=entry.batchnorm,
            penalty=penalty,
        )

    if entry.penalty == "none":
        return train(run, None), {}

    model.to(new.train.device)
    importance, numbers = _importance(model, moving, entry, old, run)

    def train_with(strength: float, own_run: TrainingRun) -> Rows:
        if entry.penalty == "lwf":
            return train(own_run, distillation(model, strength))

        return train(own_run, quadratic(moving, importance, strength))

    if entry.strength is not None:
        return train_with(entry.strength, run), {**numbers, "strength": entry.strength}

    if old is None:
        raise ValueError(
            f"{run.name}: strength: missing; to choose it the old task's data are needed (--old)"
        )

    strengths = PENALTIES[entry.penalty]
    rows, choice = _best_strength(model, train_with, strengths, old, new, settings, run)
    held_out = {
        "old_loss_held_out": old.has_held_out,
        "new_loss_held_out": new.has_held_out,
    }
    return rows, {**numbers, **choice, **held_out}


def _best_strength(
    model: nn.Module,
    train_with: Callable[[float, TrainingRun], Rows],
    strengths: Sequence[float],
    old: Task,
    new: Task,
    settings: Training,
    run: TrainingRun,
) -> tuple[Rows, dict[str, Any]]:
    """Train the model with every strength from the same start.

    Leaves the chosen one's weights and log; returns its rows, and numbers for the sidecar.
    """
    start = _copy_state(model)
    base_loss = task_loss(model, old.judged, settings)

    tried = []
    ends = []
    for strength in strengths:
        model.load_state_dict(start)
        rows = train_with(strength, _candidate(run, strength))
        tried.append(
            {
                "strength": strength,
                "old_loss": task_loss(model, old.judged, settings),
                "new_loss": task_loss(model, new.judged, settings),
            }
        )
        ends.append((_copy_state(model), rows))

    weakest = min(tried, key=lambda t: t["strength"])
    best = chosen(tried, base_loss, weakest["old_loss"])
    weights, rows = ends[best]
    model.load_state_dict(weights)
    if run.world.first:
        write_log(run.log, rows)

    return rows, {
        "strength": tried[best]["strength"],
        "strengths_tried": tried,
        "old_loss_of_base": base_loss,
        "forgetting_allowed": FORGETTING_ALLOWED,
    }


def _copy_state(model: nn.Module) -> dict[str, Tensor]:
    return {n: t.detach().clone() for n, t in model.state_dict().items()}


def choose_kernels(
    kse: Mapping[str, np.ndarray],
    sparsity: Mapping[str, np.ndarray] | None,
    entry: NetworkEntry,
    seed: int,
    alive: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Tensor]:
    """True = to be retrained: by KSE, or as many by smallest L1 norm or by chance.

    In each module as many as KSE would. `sparsity` is KSE's first term, the L1 norm of what reads a
    kernel. Raises ValueError where `mask: l1` lacks it, or `fraction_of: alive` lacks `alive`.
    """
    scores = {n: torch.from_numpy(v) for n, v in kse.items()}
    of_alive = counts_alive(entry)
    if of_alive and alive is None:
        raise ValueError(
            "fraction_of: alive needs to know which kernels are, a column of the score table "
            "(--scores)"
        )

    by_kse = select(scores, entry.phi, entry.fraction, alive if of_alive else None)
    if entry.mask == "kse":
        return by_kse

    if entry.mask == "l1" and sparsity is None:
        raise ValueError(
            "mask: l1 needs the kernels' sparsity, a column of the score table (--scores)"
        )

    masks = {}
    for name, mask in by_kse.items():
        if entry.mask == "random" or sparsity is None:
            generator = torch_generator(seed, "mask", name)
            order = torch.randperm(len(mask), generator=generator)
        else:
            order = torch.from_numpy(np.argsort(sparsity[name], kind="stable"))

        count = int(mask.sum())
        masks[name] = torch.zeros_like(mask)
        masks[name][order[:count]] = True

    return masks


def _importance(
    model: nn.Module,
    moving: Sequence[nn.Parameter],
    entry: NetworkEntry,
    old: Task | None,
    run: TrainingRun,
) -> tuple[list[Tensor] | None, dict[str, Any]]:
    """EWC's Fisher information over its mean, and numbers for the sidecar; None for others.

    Divided by its mean, a strength means the same whatever the loss's scale.
    """
    if entry.penalty != "ewc":
        return None, {"penalty": entry.penalty}

    if old is None:
        raise ValueError(f"{run.name}: penalty: ewc needs the old task's data (--old)")

    values = fisher(model, moving, old.train, FISHER_PATCHES)
    flat = torch.cat([v.flatten() for v in values])
    mean = float(flat.double().mean())
    if not mean > 0:
        raise ValueError(
            f"{run.name}: penalty: ewc: the Fisher information is {mean} on average; expected > 0"
        )

    numbers = {"penalty": "ewc", "fisher_patches": FISHER_PATCHES, "fisher_mean": mean}
    return [v / mean for v in values], numbers


def _candidate(run: TrainingRun, strength: float) -> TrainingRun:
    """The run of one strength.

    Its checkpoint has a name of its own and stays until the whole is done.
    """
    checkpoint = run.checkpoint
    if checkpoint is not None:
        checkpoint = checkpoint.with_name(candidate_name(checkpoint.stem, f"{strength:g}"))

    board = run.tensorboard
    if board is not None:
        board = board / f"strength-{strength:g}"

    name = f"{run.name}, strength {strength:g}"
    return replace(run, name=name, checkpoint=checkpoint, tensorboard=board)


def candidate_name(stem: str, strength: str = "*") -> str:
    """File name (or pattern) of a candidate's checkpoint; no network's name has a dot in it."""
    return f"{stem}.strength-{strength}.safetensors"
