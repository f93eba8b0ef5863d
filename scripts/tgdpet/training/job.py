"""What a training job is given besides its data."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config.sections import Compute
from ..networks.domain import Domain


@dataclass(frozen=True)
class Job:
    """A training job of the workflow.

    The new network's `name`, the index table `dataset`, the `weights` file to write, seed, device,
    and the command line's `options` for the sidecar. `domain` says what the training images are
    like, where that was measured. `started` is in seconds since the epoch.
    """

    name: str
    dataset: Path
    weights: Path
    seed: int
    device: str
    threads: int
    checkpoint: Path | None
    compute: Compute = field(default_factory=Compute)
    options: Mapping[str, Any] = field(default_factory=dict)
    domain: Domain = field(default_factory=Domain)
    started: float = field(default_factory=time.time)

    @property
    def log(self) -> Path:
        """The training log, beside the weights."""
        return self.weights.with_name(f"{self.weights.stem}_log.csv")

    @property
    def tensorboard(self) -> Path | None:
        """The folder of TensorBoard's events, where they are asked for."""
        if not self.compute.tensorboard:
            return None

        return self.weights.with_name(f"{self.weights.stem}_tensorboard")
