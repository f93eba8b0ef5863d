"""The state of a training run on disk, from which a killed run resumes.

safetensors with JSON, never pickle.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..io.contents import Anything, ListOf, Number, Object, Text, check
from ..io.damage import readable, reason, shown
from ..networks.tensor_digest import with_digest, without_digest
from ..networks.weights import read_tensors, write_tensors
from .run import TrainingRun, TrainingState

KEY = "tgdpet-checkpoint"
STATE = Object(
    {
        "identity": Text(),
        "step": Number(low=0, whole=True),
        "total": Number(),
        "count": Number(low=0, whole=True),
        "seconds": Number(low=0),
        "rows": ListOf(Object(others=Anything())),
    }
)


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

    content = with_digest({"identity": identity, **state}, tensors)
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
        tensors, metadata = read_tensors(path)
        state = _state_of(path, tensors, metadata)
        weights = _with_prefix(tensors, "model.")
        moments = _optimizer_state(path, optimizer, _with_prefix(tensors, "optimizer."))
        generators = _with_prefix(tensors, "generator.")
        _check_tensors(path, model.state_dict(), weights)
        _check_generators(path, generators)
    except (ValueError, OSError) as error:
        print(f"{error}: not a readable checkpoint, starting afresh", flush=True)
        return None

    if state.pop("identity") != identity:
        print(f"{path}: belongs to other settings or inputs, starting afresh", flush=True)
        return None

    model.load_state_dict(weights)
    _restore_optimizer(optimizer, moments)
    _restore_generators(generators)

    return state


def _state_of(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> dict[str, Any]:
    """The run's state in the metadata; ValueError naming the file."""
    if KEY not in metadata:
        raise ValueError(f"{path}: no {KEY!r} in the metadata")

    with readable(path, "checkpoint"):
        # As Python writes it: a loss that was not measured is NaN.
        state = json.loads(metadata[KEY])
    check(state, Object(others=Anything()), path)

    state = without_digest(path, state, tensors)
    check(state, STATE, path)

    return state


def _check_tensors(path: Path, expected: Mapping[str, Tensor], came: Mapping[str, Tensor]) -> None:
    """Raise ValueError where tensors are not those that will be replaced by them."""
    if set(came) != set(expected):
        raise ValueError(f"{path}: its tensors are not this network's")

    for name, tensor in came.items():
        same_type = tensor.dtype == expected[name].dtype
        if not same_type or tensor.shape != expected[name].shape:
            raise ValueError(
                f"{path}: {shown(name)}: {tensor.dtype} {list(tensor.shape)} does not fit"
            )


def _check_generators(path: Path, states: Mapping[str, Tensor]) -> None:
    """Raise ValueError where one is not the state of a generator."""
    for name, state in states.items():
        if name == "cuda" and not torch.cuda.is_available():
            continue

        try:
            torch.Generator(name).set_state(state)
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"{path}: generator.{shown(name)}: {reason(error)}") from error


def _optimizer_state(
    path: Path, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> dict[int, dict[str, Tensor]]:
    """The tensors of each parameter by its number; ValueError where they belong to none."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}

    for name, tensor in tensors.items():
        number, _, key = name.partition(".")
        is_known = number.isdecimal() and len(number) < 9 and int(number) < len(parameters)
        if not is_known or tensor.shape not in (torch.Size([]), parameters[int(number)].shape):
            raise ValueError(f"{path}: optimizer.{shown(name)} belongs to no parameter")

        moments.setdefault(int(number), {})[key] = tensor

    return moments


def _restore_optimizer(
    optimizer: torch.optim.Optimizer, moments: dict[int, dict[str, Tensor]]
) -> None:
    whole = optimizer.state_dict()
    for number, values in moments.items():
        whole["state"].setdefault(number, {}).update(values)
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
