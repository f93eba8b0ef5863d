"""A training run: what it is called, which files it keeps, how far it is."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config.sections import Compute
from ..dataset.patches import PatchData
from ..runtime.distributed import World


class TrainingError(ValueError):
    """Training cannot continue; the message says where it stopped and what is kept."""


@dataclass(frozen=True)
class TrainingRun:
    """The name of a training run, where it keeps its state, and how it computes.

    `identity` stands for all that decides the result: a checkpoint of another identity is left
    aside. `tensorboard` is a folder, `world` the processes that train together. `watched` are
    patches of the old task, whose loss the log shows beside and nothing else uses.
    """

    name: str
    log: Path
    checkpoint: Path | None = None
    identity: str = ""
    compute: Compute = field(default_factory=Compute)
    world: World = field(default_factory=World)
    tensorboard: Path | None = None
    watched: PatchData | None = None

    def announce(self, message: str) -> None:
        """Print a message to the error stream, once for all processes."""
        if self.world.first:
            print(f"{self.name}: {message}", file=sys.stderr, flush=True)


@dataclass
class TrainingState:
    """How far a run is, as its checkpoint keeps it.

    Steps done, sum and number of the losses since the last row of the log, seconds, the log's rows.
    """

    step: int = 0
    total: float = 0.0
    count: int = 0
    seconds: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class TrainingResult:
    """What a training leaves beside the weights.

    The log's rows, the mask (module -> channels that could move) and the numbers for the sidecar.
    """

    rows: list[dict[str, Any]]
    mask: dict[str, list[int]]
    numbers: dict[str, Any]
