"""Parts of a training step: the forward pass as configured, losses read seldom, a word that it is
time to stop.
"""

from __future__ import annotations

import math
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from ..config.sections import Compute
from ..dataset.patches import Patches
from ..runtime.distributed import World

# Compiling takes a GPU job as long as some thousand steps that are not compiled
# (benchmarks/RESULTS.md).
COMPILED_STEPS = 8000


class TrainingError(ValueError):
    """Training cannot go on; the message says where it stopped and what is kept."""


@dataclass(frozen=True)
class TrainingRun:
    """What a training run is called, where it keeps its state, and what it must not be confused
    with.
    """

    name: str
    log: Path
    checkpoint: Path | None = None
    identity: str = ""
    compute: Compute = field(default_factory=Compute)
    world: World = field(default_factory=World)
    tensorboard: Path | None = None


@dataclass
class State:
    """How far a run is: steps done, losses and their number since the last row, seconds, the log's
    rows.
    """

    step: int = 0
    total: float = 0.0
    count: int = 0
    seconds: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)


class Forward:
    """The network's output in float32 for inputs (B, 3, P, P), in the precision and compiled as
    configured.

    `steps` is the length of the training: one too short to earn the compilation back is not
    compiled (`auto`).
    """

    def __init__(
        self, network: nn.Module, place: torch.device, precision: str, compute: Compute, steps: int
    ) -> None:
        self._network, self._type, self._bf16 = network, place.type, precision == "bf16"
        pays = place.type == "cuda" and steps >= COMPILED_STEPS
        compiled = compute.compile == "always" or (compute.compile == "auto" and pays)
        if compiled and not compute.deterministic:
            # On a GPU the compiled graphs are replayed as CUDA graphs: one launch instead of dozens
            # a step.
            mode = "reduce-overhead" if place.type == "cuda" else None
            self._network = torch.compile(network, mode=mode, dynamic=False)  # type: ignore[assignment]

    def __call__(self, noisy: Tensor) -> Tensor:
        """(B, 3, P, P) on the device, noisy -> denoised."""
        noisy = noisy.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._type, torch.bfloat16, enabled=self._bf16):
            output: Tensor = self._network(noisy)
        return output.float()


class Losses:
    """Losses that stay on the device until they are read together: a GPU would wait for each that
    is read alone.
    """

    def __init__(
        self, run: TrainingRun, state: State, data: Patches, stop: Stop, unread: int
    ) -> None:
        self._run, self._state, self._data, self._stop, self._unread = (
            run,
            state,
            data,
            stop,
            unread,
        )
        self._kept: list[tuple[Tensor, Tensor]] = []
        self.stopping = False
        """Whether one process had been asked to stop at the last reading: the same step in all of
        them.
        """
        self._before, self._started = state.seconds, time.monotonic()

    def add(self, rows: Tensor, loss: Tensor, whole: Tensor, *, read: bool) -> int:
        """Keep a step's losses, of this process's part; the number of steps that were read, after
        which all are.

        Reading adds up the losses of all processes, and lets all know that one is to stop. Raises
        TrainingError.
        """
        self._kept.append((rows, torch.stack([loss.detach(), whole.detach()])))
        if not read and len(self._kept) < self._unread:
            return 0
        values = torch.stack([v for _, v in self._kept]).flatten()
        asked = values.new_tensor([float(self._stop.asked)])
        *read_values, stopping = self._run.world.mean(torch.cat([values, asked])).tolist()
        self.stopping = stopping > 0
        count = len(self._kept)
        for i, (slices, _) in enumerate(self._kept):
            value, with_penalty = read_values[2 * i : 2 * i + 2]
            if not math.isfinite(with_penalty):
                step = self._state.step - count + 1 + i
                raise TrainingError(
                    _lost(self._run, step, with_penalty, self._data.describe(slices))
                )
            self._state.total += value
        self._state.count += count
        self._state.seconds = self._before + time.monotonic() - self._started
        self._kept.clear()
        return count


class Stop:
    """Notes SIGTERM (which schedulers send before the end of the wall time) instead of dying of
    it.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def __enter__(self) -> Stop:
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


def _lost(run: TrainingRun, step: int, value: float, slices: str) -> str:
    kept = (
        f"the last good checkpoint is {run.checkpoint}"
        if run.checkpoint and run.checkpoint.exists()
        else "no checkpoint is kept"
    )
    where = f"{run.name}: the loss is {value} at step {step} (slices {slices})"
    return f"{where}; {kept}. Lower learning_rate, or check these images"
