"""Losses that stay on the device until they are read together."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from ..dataset.patches import Patches
from ..runtime.termination import Termination
from .run import TrainingError, TrainingRun, TrainingState

UNREAD_ON_GPU = 20  # steps that a GPU may run ahead before their losses are read


def steps_unread(device: torch.device) -> int:
    """Steps after which losses are read at the latest."""
    return UNREAD_ON_GPU if device.type == "cuda" else 1


class PendingLosses:
    """Losses that stay on the device until they are read together.

    A GPU would wait for each loss that is read alone.
    """

    def __init__(
        self, run: TrainingRun, state: TrainingState, data: Patches, termination: Termination
    ) -> None:
        self._run = run
        self._state = state
        self._data = data
        self._termination = termination
        self._limit = steps_unread(data.device)

        self._pending: list[tuple[Tensor, Tensor]] = []
        self._seconds_before = state.seconds
        self._started = time.monotonic()

        self.stopping = False
        """Whether one process had been asked to stop at the last reading: the same step in all of
        them.
        """

    def add(self, rows: Tensor, loss: Tensor, objective: Tensor, *, read: bool) -> int:
        """Keep a step's loss and objective (the loss with its penalty), of this process's part.

        Returns the number of steps that were read: none, or all that were kept. Reading adds up the
        losses of all processes, and lets all know that one is to stop. Raises TrainingError where
        an objective is not finite.
        """
        pair = torch.stack([loss.detach(), objective.detach()])
        self._pending.append((rows, pair))
        if not read and len(self._pending) < self._limit:
            return 0

        # One transfer: loss and objective of each step, and whether a process is to stop.
        values = torch.stack([p for _, p in self._pending]).flatten()
        requested = values.new_tensor([float(self._termination.requested)])
        means = self._run.world.mean(torch.cat([values, requested]))
        *losses, stopping = means.tolist()
        self.stopping = stopping > 0

        count = len(self._pending)
        first_step = self._state.step - count + 1
        for i, (slices, _) in enumerate(self._pending):
            value = losses[2 * i]
            with_penalty = losses[2 * i + 1]
            if not math.isfinite(with_penalty):
                raise TrainingError(self._not_finite(first_step + i, with_penalty, slices))
            self._state.total += value

        self._state.count += count
        self._state.seconds = self._seconds_before + time.monotonic() - self._started
        self._pending.clear()

        return count

    def _not_finite(self, step: int, value: float, rows: Tensor) -> str:
        checkpoint = self._run.checkpoint
        kept = "no checkpoint is kept"
        if checkpoint and checkpoint.exists():
            kept = f"the last good checkpoint is {checkpoint}"

        slices = self._data.describe(rows)
        return (
            f"{self._run.name}: the loss is {value} at step {step} (slices {slices}); {kept}. "
            "Lower learning_rate, or check these images"
        )
