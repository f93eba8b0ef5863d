"""One training loop for every stage: v1, v2, fine-tuning, TGD, TGD^n and Noise2Noise."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from ..config.sections import Training
from ..dataset.patches import Batch, PatchData, Patches
from ..runtime import device
from ..runtime.progress import Progress
from ..tgd.layer import TGD
from ..tgd.layer_kinds import BATCHNORM_LAYERS
from . import checkpoint
from .log import LOG, TensorBoard, write_log
from .step import Forward, Losses, State, Stop, TrainingError, TrainingRun
from .tradeoff import JUDGED_PATCHES

FINAL_RATE = (
    0.05  # the cosine schedule (Loshchilov and Hutter 2017) ends at this share of the learning rate
)
ROWS = 60  # rows of the log, about
LEAST_STEPS = 20  # from one row to the next: validating costs about one step
UNREAD = 20  # steps that a GPU may run ahead before their losses are read
VALIDATION_PATCHES = 128
STATISTICS_BATCHES = 128  # for batch normalisation, after training; no more than the training had
LOSSES = {"mse": functional.mse_loss, "l1": functional.l1_loss}
Penalty = Callable[
    [Batch, Tensor], Tensor
]  # of a batch and the network's output for it, added to the loss

__all__ = ["Patches", "Penalty", "TrainingRun", "TrainingError", "fit", "task_loss"]


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
    loss's) and a cosine schedule. With `tgd` only its kernels move; else `parameters`, or all.
    `batchnorm="eval"` keeps the running statistics; "train" ends by estimating them anew, as the
    mean over many batches with the weights at rest ("PreciseBN", Wu and Johnson 2021), as those
    that follow a training are of its last ten batches. `penalty` is added to the loss; the log
    shows the loss without it. All epochs are trained: no validation loss, and least of all that of
    noisy targets, ends a run early. A run that finds its checkpoint goes on from there and ends in
    the same weights, bit for bit on a CPU. Of several processes (`run.world`) each takes its part
    of every batch. Raises TrainingError on a loss that is not finite.
    """
    moving = list(
        tgd.parameters()
        if tgd is not None
        else parameters
        if parameters is not None
        else model.parameters()
    )
    model.to(data.device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    per_epoch = max(1, round(len(data) * settings.patches_per_slice))
    epoch_steps = math.ceil(per_epoch / settings.batch)
    steps = settings.epochs * epoch_steps if moving else 0
    every = max(LEAST_STEPS, steps // ROWS)
    say = print if run.world.first else _silent
    if not moving:
        say(
            f"{run.name}: no kernel is to be retrained; the network stays as it is", file=sys.stderr
        )
    on_gpu = data.device.type == "cuda"
    optimizer = torch.optim.Adam(
        moving or [torch.zeros(1)],
        lr=settings.learning_rate,
        weight_decay=settings.l2,
        fused=on_gpu or None,
    )
    state = State()
    if run.checkpoint is not None and (
        found := checkpoint.load(run.checkpoint, run.identity, model, optimizer)
    ):
        state = State(**found)
        say(f"{run.name}: goes on at step {state.step} of {steps}", file=sys.stderr, flush=True)
    fixed = _validation_batches(validation, settings)
    order, ordered = torch.zeros(0, dtype=torch.long), -1
    precision = device.precision(run.compute.precision, data.device)
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(
            Progress(steps - state.step, f"train {run.name}", "steps", show=run.world.first)
        )
        board = stack.enter_context(
            TensorBoard(run.tensorboard if run.world.first else None, state.step)
        )
        stack.enter_context(device.arithmetic(precision, run.compute.deterministic))
        network = stack.enter_context(run.world.spread(model, data.device)) if steps else model
        forward = Forward(network, data.device, precision, run.compute, steps)
        losses = Losses(run, state, data, stack.enter_context(Stop()), UNREAD if on_gpu else 1)
        saved = time.monotonic()
        while state.step < steps:
            epoch, within = divmod(state.step, epoch_steps)
            if epoch != ordered:
                order, ordered = data.epoch_order(epoch, per_epoch), epoch
            rate = _rate(state.step, steps, settings.learning_rate)
            for group in optimizer.param_groups:
                group["lr"] = rate
            _training_mode(model, tgd, batchnorm)
            batch = data.batch(
                order[within * settings.batch : (within + 1) * settings.batch], state.step
            )
            part, share = run.world.part(len(batch.rows))
            own = batch[part]
            output = forward(own.noisy)
            loss = (
                LOSSES[settings.loss](output, own.target) if share else output.sum()
            )  # of nothing, to take part
            whole = loss if penalty is None else loss + penalty(own, output)
            optimizer.zero_grad(set_to_none=True)
            (share * whole).backward()
            log_now = (state.step + 1) % every == 0 or state.step + 1 == steps
            read = losses.add(batch.rows, share * loss, share * whole, read=log_now)
            if tgd is not None:
                tgd.step(optimizer)
            else:
                optimizer.step()
            state.step += 1
            if not read:
                continue
            bar.update(read, loss=state.total / state.count)
            if state.step == steps and (batchnorm if tgd is None else tgd.batchnorm) == "train":
                with torch.autocast(data.device.type, torch.bfloat16, enabled=precision == "bf16"):
                    update_bn(_statistics_inputs(data, settings, steps, run), network)
            if log_now:
                state.rows.append(_row(state, steps, epoch, rate, model, fixed, settings))
                state.total, state.count = 0.0, 0
                if run.world.first:
                    write_log(run.log, state.rows)
                    board.add(state.rows[-1])
            due = (
                losses.stopping
                or time.monotonic() - saved > 60 * run.compute.checkpoint_minutes
                or state.step == steps
            )
            if run.checkpoint is not None and due and run.world.first:
                checkpoint.save(run.checkpoint, run.identity, model, optimizer, vars(state))
                saved = time.monotonic()
            if losses.stopping:
                say(
                    f"{run.name}: stopped at step {state.step} of {steps}; run it again to go on",
                    file=sys.stderr,
                )
                sys.exit(143)
    if run.world.first:
        write_log(run.log, state.rows)
    model.eval()
    return state.rows


def _silent(*_: object, **__: object) -> None:
    """What processes but the first say."""


def task_loss(model: nn.Module, data: Patches, settings: Training) -> float:
    """Loss over the same patches of `data` every time; the model is left in evaluation mode."""
    return _validate(model, _validation_batches(data, settings, JUDGED_PATCHES), settings.loss)[0]


def _loss(model: nn.Module, batch: Batch, loss: str) -> Tensor:
    return LOSSES[loss](
        model(batch.noisy.contiguous(memory_format=torch.channels_last)), batch.target
    )


def _rate(step: int, steps: int, rate: float) -> float:
    return rate * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * step / steps)))


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
    rows = data.epoch_order(settings.epochs, settings.batch * min(STATISTICS_BATCHES, steps))
    for i, part in enumerate(rows.split(settings.batch)):
        own = data.batch(part, steps + i)[run.world.part(len(part))[0]]
        yield own.noisy.contiguous(memory_format=torch.channels_last)


def _validation_batches(
    validation: Patches | None, settings: Training, patches: int = VALIDATION_PATCHES
) -> list[Batch]:
    """The same patches of held-out studies every time."""
    if validation is None or len(validation) == 0:
        return []
    rows = validation.epoch_order(0, patches)
    return [
        validation.batch(part, -1 - i, augment=False)
        for i, part in enumerate(rows.split(settings.batch))
    ]


@torch.no_grad()
def _validate(model: nn.Module, batches: list[Batch], loss: str) -> tuple[float, float]:
    """Loss and PSNR (dB, peak = the largest target) over held-out patches; NaN where there are
    none.
    """
    if not batches:
        return math.nan, math.nan
    model.eval()
    total = sum(float(_loss(model, b, loss)) * len(b.rows) for b in batches)
    error = sum(float(_loss(model, b, "mse")) * len(b.rows) for b in batches)
    n = sum(len(b.rows) for b in batches)
    peak = max(float(b.target.max()) for b in batches)
    return total / n, 10 * math.log10(peak**2 / max(error / n, 1e-20))


def _row(
    state: State,
    steps: int,
    epoch: int,
    rate: float,
    model: nn.Module,
    fixed: list[Batch],
    settings: Training,
) -> dict[str, Any]:
    validation_loss, psnr = _validate(model, fixed, settings.loss)
    pixels = state.step * settings.batch * settings.patch**2 / max(state.seconds, 1e-9)
    left = state.seconds / state.step * (steps - state.step)
    values = (
        state.step,
        epoch,
        state.total / state.count,
        validation_loss,
        psnr,
        rate,
        round(pixels),
        round(left, 1),
    )
    return dict(zip(LOG, values, strict=True))
