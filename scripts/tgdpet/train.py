"""One training loop for every stage: v1, v2, fine-tuning, TGD, TGD^n and Noise2Noise."""

from __future__ import annotations

import csv
import io
import math
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import checkpoint
from .config import Training
from .files import write_text
from .patches import Batch, PatchData
from .probe import BATCHNORMS
from .progress import Progress
from .tgd import TGD

LOG = (
    "step", "epoch", "loss", "validation_loss", "validation_psnr", "learning_rate", "pixels_per_s", "seconds_left",
)  # fmt: skip
FINAL_RATE = 0.05  # the cosine schedule (Loshchilov and Hutter 2017) ends at this share of the learning rate
ROWS = 60  # rows of the log, about
VALIDATION_PATCHES = 128
JUDGED_PATCHES = 1024  # to compare networks by; patches differ in loss by factors
LOSSES = {"mse": functional.mse_loss, "l1": functional.l1_loss}
Penalty = Callable[[Batch, Tensor], Tensor]  # of a batch and the network's output for it, added to the loss


class TrainingError(ValueError):
    """Training cannot go on; the message says where it stopped and what is kept."""


class Patches(Protocol):
    """What is trained on: PatchData, or a mixture of two."""

    device: torch.device

    def __len__(self) -> int: ...
    def epoch_order(self, epoch: int, count: int) -> Tensor: ...  # noqa: D102
    def batch(self, rows: Tensor, step: int, augment: bool = True) -> Batch: ...  # noqa: D102
    def describe(self, rows: Tensor) -> str: ...  # noqa: D102


@dataclass(frozen=True)
class Run:
    """What a training run is called, where it keeps its state, and what it must not be confused with."""

    name: str
    log: Path
    checkpoint: Path | None = None
    identity: str = ""
    checkpoint_s: float = 30.0


@dataclass
class _State:
    step: int = 0
    total: float = 0.0
    count: int = 0
    seconds: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)


def fit(
    model: nn.Module,
    data: Patches,
    validation: PatchData | None,
    settings: Training,
    run: Run,
    *,
    tgd: TGD | None = None,
    parameters: Iterable[nn.Parameter] | None = None,
    batchnorm: str = "train",
    penalty: Penalty | None = None,
) -> list[dict[str, Any]]:
    """Train `model` in place and return the log's rows; the model is left in evaluation mode.

    Adam with the regulariser R(W) = l2 / 2 |w|^2 in the loss (its gradient l2 * w is added to the loss's) and a
    cosine schedule. With `tgd` only its kernels move; else `parameters`, or all. `batchnorm="eval"` keeps the
    running statistics. `penalty` is added to the loss; the log shows the loss without it. A run that finds its
    checkpoint goes on from there and ends in the same weights, bit for bit on a CPU. Raises TrainingError on a loss
    that is not finite.
    """
    moving = list(tgd.parameters() if tgd is not None else parameters if parameters is not None else model.parameters())
    model.to(data.device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    per_epoch = max(1, round(len(data) * settings.patches_per_slice))
    epoch_steps = math.ceil(per_epoch / settings.batch)
    steps = settings.epochs * epoch_steps
    every = max(10, steps // ROWS)  # validating costs four steps
    state = _State()
    if not moving:
        print(f"{run.name}: no kernel is to be retrained; the network stays as it is", file=sys.stderr)
        steps = 0
    optimizer = torch.optim.Adam(moving or [torch.zeros(1)], lr=settings.learning_rate, weight_decay=settings.l2)
    if run.checkpoint is not None and (found := checkpoint.load(run.checkpoint, run.identity, model, optimizer)):
        state = _State(**found)
        print(f"{run.name}: goes on at step {state.step} of {steps}", file=sys.stderr, flush=True)
    fixed = _validation_batches(validation, settings)
    order, ordered = torch.zeros(0, dtype=torch.long), -1
    saved = started = time.monotonic()
    before = state.seconds
    with Progress(steps - state.step, f"train {run.name}", "steps") as bar, _Stop() as stop:
        while state.step < steps:
            epoch, within = divmod(state.step, epoch_steps)
            if epoch != ordered:
                order, ordered = data.epoch_order(epoch, per_epoch), epoch
            rate = _rate(state.step, steps, settings.learning_rate)
            for group in optimizer.param_groups:
                group["lr"] = rate
            _training_mode(model, tgd, batchnorm)
            batch = data.batch(order[within * settings.batch : (within + 1) * settings.batch], state.step)
            output = _output(model, batch)
            loss = LOSSES[settings.loss](output, batch.target)
            whole = loss if penalty is None else loss + penalty(batch, output)
            optimizer.zero_grad(set_to_none=True)
            whole.backward()
            value, with_penalty = float(loss.detach()), float(whole.detach())
            if not math.isfinite(with_penalty):
                raise TrainingError(_lost(run, state.step, with_penalty, data.describe(batch.rows)))
            if tgd is not None:
                tgd.step(optimizer)
            else:
                optimizer.step()
            state.step += 1
            state.total += value
            state.count += 1
            now = time.monotonic()
            state.seconds = before + now - started
            bar.update(1, loss=state.total / state.count)
            if state.step % every == 0 or state.step == steps:
                state.rows.append(_row(state, steps, epoch, rate, model, fixed, settings))
                state.total, state.count = 0.0, 0
                write_log(run.log, state.rows)
            due = stop.asked or now - saved > run.checkpoint_s or state.step == steps
            if run.checkpoint is not None and due:
                checkpoint.save(run.checkpoint, run.identity, model, optimizer, vars(state))
                saved = now
            if stop.asked:
                print(f"{run.name}: stopped at step {state.step} of {steps}; run it again to go on", file=sys.stderr)
                sys.exit(143)
    write_log(run.log, state.rows)
    model.eval()
    return state.rows


def task_loss(model: nn.Module, data: Patches, settings: Training) -> float:
    """Loss over the same patches of `data` every time; the model is left in evaluation mode."""
    return _validate(model, _validation_batches(data, settings, JUDGED_PATCHES), settings.loss)[0]


def _output(model: nn.Module, batch: Batch) -> Tensor:
    return model(batch.noisy.contiguous(memory_format=torch.channels_last))


def _loss(model: nn.Module, batch: Batch, loss: str) -> Tensor:
    return LOSSES[loss](_output(model, batch), batch.target)


def _rate(step: int, steps: int, rate: float) -> float:
    return rate * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _training_mode(model: nn.Module, tgd: TGD | None, batchnorm: str) -> None:
    if tgd is not None:
        tgd.train_mode()
        return
    model.train()
    if batchnorm == "eval":
        for module in model.modules():
            if isinstance(module, BATCHNORMS):
                module.eval()


def _validation_batches(
    validation: Patches | None, settings: Training, patches: int = VALIDATION_PATCHES
) -> list[Batch]:
    """The same patches of held-out studies every time."""
    if validation is None or len(validation) == 0:
        return []
    rows = validation.epoch_order(0, patches)
    return [validation.batch(part, -1 - i, augment=False) for i, part in enumerate(rows.split(settings.batch))]


@torch.no_grad()
def _validate(model: nn.Module, batches: list[Batch], loss: str) -> tuple[float, float]:
    """Loss and PSNR (dB, peak = the largest target) over held-out patches; NaN where there are none."""
    if not batches:
        return math.nan, math.nan
    model.eval()
    total = sum(float(_loss(model, b, loss)) * len(b.rows) for b in batches)
    error = sum(float(_loss(model, b, "mse")) * len(b.rows) for b in batches)
    n = sum(len(b.rows) for b in batches)
    peak = max(float(b.target.max()) for b in batches)
    return total / n, 10 * math.log10(peak**2 / max(error / n, 1e-20))


def _row(
    state: _State, steps: int, epoch: int, rate: float, model: nn.Module, fixed: list[Batch], settings: Training
) -> dict[str, Any]:
    validation_loss, psnr = _validate(model, fixed, settings.loss)
    pixels = state.step * settings.batch * settings.patch**2 / max(state.seconds, 1e-9)
    left = state.seconds / state.step * (steps - state.step)
    values = (state.step, epoch, state.total / state.count, validation_loss, psnr, rate, round(pixels), round(left, 1))
    return dict(zip(LOG, values, strict=True))


def write_log(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the log's rows as CSV."""
    text = io.StringIO()
    table = csv.DictWriter(text, LOG, lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({k: f"{v:.8g}" if isinstance(v, float) else v for k, v in row.items()})
    write_text(path, text.getvalue())


def _lost(run: Run, step: int, value: float, slices: str) -> str:
    kept = (
        f"the last good checkpoint is {run.checkpoint}"
        if run.checkpoint and run.checkpoint.exists()
        else "no checkpoint is kept"
    )
    where = f"{run.name}: the loss is {value} at step {step} (slices {slices})"
    return f"{where}; {kept}. Lower learning_rate, or check these images"


class _Stop:
    """Notes SIGTERM (which schedulers send before the end of the wall time) instead of dying of it."""

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def __enter__(self) -> _Stop:
        try:
            self._before = signal.signal(signal.SIGTERM, self._note)
        except ValueError:  # not the main thread
            self._before = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
