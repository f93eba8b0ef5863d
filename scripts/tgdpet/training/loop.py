"""One training loop for every stage: v1, v2, fine-tuning, TGD, TGD^n and Noise2Noise."""

from __future__ import annotations

import contextlib
import inspect
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from ..config.sections import Training
from ..dataset.patches import Batch, PatchData, Patches
from ..runtime import device as devices
from ..runtime.termination import Termination
from ..tgd.layer import TGD
from ..tgd.layer_kinds import BATCHNORM_LAYERS
from .checkpoint import Checkpoints
from .forward import Forward
from .log import TrainingLog
from .pending_losses import PendingLosses
from .run import TrainingRun
from .validation import LOSSES, fixed_batches, validate

WARM_UP = 0.05  # the share of the steps in which the learning rate rises
FINAL_RATE = 0.02  # the share of the learning rate that the schedule ends at
STATISTICS_BATCHES = 128  # for batch normalisation, after training; no more than the training had

Penalty = Callable[[Batch, Tensor], Tensor]
"""Of a batch and the network's output for it, added to the loss."""


def fit(
    model: nn.Module,
    data: Patches,
    validation: PatchData | None,
    settings: Training,
    run: TrainingRun,
    *,
    tgd: TGD | None = None,
    parameters: Iterable[nn.Parameter] | None = None,
    batchnorm: str = "train",
    penalty: Penalty | None = None,
) -> list[dict[str, Any]]:
    """Train `model` in place and return the log's rows; the model is left in evaluation mode.

    Adam with the regulariser R(W) = l2 / 2 |w|^2 in the loss (its gradient l2 * w is added to the
    loss's), a warm-up and a cosine schedule. With `tgd` only its kernels move; else `parameters`,
    or all.
    `batchnorm="eval"` keeps the running statistics; "train" ends by estimating them anew, as the
    mean over many batches with the weights at rest ("PreciseBN", Wu and Johnson 2021), as those
    that follow a training are of its last ten batches. `penalty` is added to the loss; the log
    shows the loss without it. All epochs are trained: no validation loss, and least of all that of
    noisy targets, ends a run early. A run that finds its checkpoint resumes there and ends in the
    same weights, bit for bit on a CPU. Of several processes (`run.world`) each takes its part of
    every batch. Raises TrainingError on a loss that is not finite.
    """
    moving = _moving_parameters(model, tgd, parameters)
    if tgd is not None:
        batchnorm = tgd.batchnorm
    model.to(data.device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    # An epoch draws `patches_per_slice` patches of a slice, on average.
    patches_per_epoch = max(1, round(len(data) * settings.patches_per_slice))
    steps_per_epoch = math.ceil(patches_per_epoch / settings.batch)
    steps = settings.epochs * steps_per_epoch if moving else 0
    if not moving:
        run.announce("no kernel is to be retrained; the network stays as it is")

    optimizer = _adam(moving, settings, data.device)
    checkpoints = Checkpoints(run, model, optimizer)
    state = checkpoints.resume()
    if state.step > 0:
        run.announce(f"resumes at step {state.step} of {steps}")

    held_out = fixed_batches(validation, settings)
    watched = fixed_batches(run.watched, settings)
    precision = devices.precision(run.compute.precision, data.device)
    task = LOSSES[settings.loss]

    with (
        TrainingLog(run, state, steps, settings) as log,
        devices.arithmetic(precision, run.compute.deterministic),
        _spread(run, model, data.device, steps) as network,
        Termination() as termination,
    ):
        forward = Forward(network, data.device, precision, run.compute, steps)
        losses = PendingLosses(run, state, data, termination)
        order_epoch = -1

        while state.step < steps:
            epoch, step_of_epoch = divmod(state.step, steps_per_epoch)
            if epoch != order_epoch:
                order = data.epoch_order(epoch, patches_per_epoch)
                order_epoch = epoch

            rate = learning_rate(state.step, steps, settings.learning_rate)
            for group in optimizer.param_groups:
                group["lr"] = rate

            # A batch of noisy patches and their targets; of several processes each takes a part.
            first = step_of_epoch * settings.batch
            batch = data.batch(order[first : first + settings.batch], state.step)
            part, share = run.world.part(len(batch.rows))
            mine = batch[part]

            # Forward: the loss of the task and what regularises it. A process without a patch takes
            # part with a loss of weight 0.
            _training_mode(model, tgd, batchnorm)
            output = forward(mine.noisy)
            loss = task(output, mine.target) if share else output.sum()
            objective = loss if penalty is None else loss + penalty(mine, output)

            # Backward.
            optimizer.zero_grad(set_to_none=True)
            (share * objective).backward()

            # Losses are read before the weights move: nothing is kept of a step that went wrong.
            row_due = log.row_due(state.step + 1)
            steps_read = losses.add(batch.rows, share * loss, share * objective, read=row_due)

            # Step. TGD restores what is useful to the bit (eq. 4).
            if tgd is not None:
                tgd.step(optimizer)
            else:
                optimizer.step()
            state.step += 1

            # Running statistics of the final weights, in float32 as the network is applied.
            if state.step == steps and batchnorm == "train":
                inputs = _statistics_inputs(data, settings, steps, run)
                update_bn(inputs, network)

            # Bookkeeping, whenever losses were read: every step on a CPU, seldom on a GPU.
            if steps_read:
                log.progress(steps_read)
                if row_due:
                    losses_seen = validate(model, held_out, settings.loss)
                    old_loss, _ = validate(model, watched, settings.loss)
                    log.add_row(epoch, rate, *losses_seen, old_loss)

                checkpoints.save_when_due(state, now=losses.stopping or state.step == steps)
                if losses.stopping:
                    run.announce(f"stopped at step {state.step} of {steps}; run it again to resume")
                    sys.exit(termination.exit_status)

        log.write()

    model.eval()
    return state.rows


def _moving_parameters(
    model: nn.Module, tgd: TGD | None, parameters: Iterable[nn.Parameter] | None
) -> list[nn.Parameter]:
    if tgd is not None:
        return list(tgd.parameters())

    return list(model.parameters() if parameters is None else parameters)


class Adam(torch.optim.Adam):
    """torch's, without the wrappers that keep torch's compiler out of an optimizer: they import the
    compiler, a second of processor time in every training, though few are compiled.
    """

    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    load_state_dict = inspect.unwrap(torch.optim.Adam.load_state_dict)
    state_dict = inspect.unwrap(torch.optim.Adam.state_dict)
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))
    zero_grad = inspect.unwrap(torch.optim.Adam.zero_grad)


def _adam(moving: list[nn.Parameter], settings: Training, device: torch.device) -> Adam:
    """Adam, on a GPU in one kernel; it takes no empty list, so that nothing is one zero."""
    return Adam(
        moving or [torch.zeros(1)],
        lr=settings.learning_rate,
        weight_decay=settings.l2,
        fused=device.type == "cuda" or None,
    )


def _spread(
    run: TrainingRun, model: nn.Module, device: torch.device, steps: int
) -> contextlib.AbstractContextManager[nn.Module]:
    """The model, or what stands for it in several processes; not where nothing is trained."""
    return run.world.spread(model, device) if steps else contextlib.nullcontext(model)


def learning_rate(step: int, steps: int, rate: float) -> float:
    """Linear rise to `rate` (Goyal et al. 2017, section 2.2), then a cosine to `FINAL_RATE` of it.

    The cosine is Loshchilov and Hutter's (2017, eq. 5). Adam's first steps are as long as any, on
    gradients that it has hardly seen; the rise is what lets a short training take longer steps.
    """
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return rate * (step + 1) / rise

    cosine = 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))

    return rate * (FINAL_RATE + (1 - FINAL_RATE) * cosine)


def _training_mode(model: nn.Module, tgd: TGD | None, batchnorm: str) -> None:
    if tgd is not None:
        tgd.train_mode()
        return

    model.train()
    if batchnorm == "eval":
        for module in model.modules():
            if isinstance(module, BATCHNORM_LAYERS):
                module.eval()


def _statistics_inputs(
    data: Patches, settings: Training, steps: int, run: TrainingRun
) -> Iterator[Tensor]:
    """What this process reads (B, 3, P, P) of the batches that would follow the training's."""
    count = settings.batch * min(STATISTICS_BATCHES, steps)
    rows = data.epoch_order(settings.epochs, count)

    for i, rows_of_batch in enumerate(rows.split(settings.batch)):
        batch = data.batch(rows_of_batch, steps + i)
        part, _ = run.world.part(len(rows_of_batch))
        yield batch[part].noisy.contiguous(memory_format=torch.channels_last)
