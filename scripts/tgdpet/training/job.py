"""What a training job is told besides its data."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config.sections import Compute


@dataclass(frozen=True)
class Job:
    """A training job: name, data, where to write, seed, device, and the command line for the
    sidecar.
    """

    name: str
    dataset: Path
    out: Path
    seed: int
    device: str
    threads: int
    checkpoint: Path | None
    compute: Compute = field(default_factory=Compute)
    options: Mapping[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.time)
