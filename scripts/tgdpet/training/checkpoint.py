"""The state of a training run on disk, from which a killed run resumes.

safetensors with JSON, never pickle.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..networks.weights import write_tensors
from .run import TrainingRun, TrainingState

KEY = "tgdpet-checkpoint"


class Checkpoints:
    """The checkpoint file of a run: read once, then written now and then by the first process."""

    def __init__(
        self, run: TrainingRun, model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> None:
        self._path = run.checkpoint
        self._identity = run.identity
        self._writes = run.world.first
        self._model = model
        self._optimizer = optimizer
        self._pause_s = 60 * run.compute.checkpoint_minutes
        self._saved = time.monotonic()

    def resume(self) -> TrainingState:
        """Put the run's checkpoint into model and optimizer; the state it was in, or a new one."""
        if self._path is None:
            return TrainingState()

        kept = load_checkpoint(self._path, self._identity, self._model, self._optimizer)
        return TrainingState(**kept) if kept else TrainingState()

    def save_when_due(self, state: TrainingState, *, now: bool) -> None:
        """Write the checkpoint where `now`, or the last one is older than configured."""
        due = now or time.monotonic() - self._saved > self._pause_s
        if self._path is None or not due or not self._writes:
            return

        save_checkpoint(self._path, self._identity, self._model, self._optimizer, vars(state))
        self._saved = time.monotonic()


def save_checkpoint(
    path: Path,
    identity: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
) -> None:
    """Write weights, optimizer state and `state` (step, log) for the run that `identity` names."""
    tensors = {}
    for name, tensor in model.state_dict().items():
        tensors[f"model.{name}"] = _on_cpu(tensor)
    for index, values in optimizer.state_dict()["state"].items():
        for key, value in values.items():
            tensors[f"optimizer.{index}.{key}"] = _on_cpu(value)
    for name, generator_state in _generators().items():
        tensors[f"generator.{name}"] = generator_state

    content = json.dumps({"identity": identity, **state})
    write_tensors(path, tensors, {KEY: content})


def load_checkpoint(
    path: Path, identity: str, model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any] | None:
    """Put a checkpoint into model and optimizer and return its state.

    None where there is none for this run: a file of another configuration or other inputs, or one
    that cannot be read, is left aside with a message.
    """
    if not path.exists():
        return None

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state: dict[str, Any] = json.loads(metadata[KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        print(f"{path}: not a readable checkpoint, starting afresh: {error}", flush=True)
        return None

    if state.pop("identity") != identity:
        print(f"{path}: belongs to other settings or inputs, starting afresh", flush=True)
        return None

    model.load_state_dict(_with_prefix(tensors, "model."))
    _restore_optimizer(optimizer, _with_prefix(tensors, "optimizer."))
    _restore_generators(_with_prefix(tensors, "generator."))

    return state


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    whole = optimizer.state_dict()
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        whole["state"].setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict(whole)

    # Strides as the run had them: the same kernels of the processor, the same bits.
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if value.shape == parameter.shape:
                values[key] = torch.empty_like(parameter, requires_grad=False).copy_(value)


def _restore_generators(states: dict[str, Tensor]) -> None:
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def _generators() -> dict[str, Tensor]:
    """The states of torch's own generators, which a network may use (dropout).

    The pipeline's own depend on seed and step alone.
    """
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()

    return states


def _on_cpu(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous()


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    chosen = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            chosen[name.removeprefix(prefix)] = tensor

    return chosen
