"""Where a training run stands, on disk, so that a killed one goes on: safetensors with JSON, never
pickle.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from ..networks.weights import write_tensors

KEY = "tgdpet-checkpoint"


def save(
    path: Path,
    identity: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
) -> None:
    """Write weights, optimizer state and `state` (step, log) for the run that `identity` names."""
    tensors = {f"model.{n}": t.detach().cpu().contiguous() for n, t in model.state_dict().items()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {
            f"optimizer.{index}.{k}": v.detach().cpu().contiguous() for k, v in values.items()
        }
    tensors |= {f"generator.{n}": s for n, s in _generators().items()}
    write_tensors(path, tensors, {KEY: json.dumps({"identity": identity, **state})})


def load(
    path: Path, identity: str, model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any] | None:
    """Put a checkpoint into model and optimizer and return its state; None where there is none for
    this run.

    A file of another configuration or other inputs, or one that cannot be read, is left aside with
    a word.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            state: dict[str, Any] = json.loads((file.metadata() or {})[KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        print(f"{path}: not a readable checkpoint, starting afresh: {error}", flush=True)
        return None
    if state.pop("identity") != identity:
        print(f"{path}: belongs to other settings or inputs, starting afresh", flush=True)
        return None
    model.load_state_dict(
        {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
    )
    whole = optimizer.state_dict()
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            whole["state"].setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict(whole)
    for (
        parameter,
        values,
    ) in optimizer.state.items():  # strides as the run had them: same kernels, same bits
        for key, value in values.items():
            if value.shape == parameter.shape:
                values[key] = torch.empty_like(parameter, requires_grad=False).copy_(value)
    for name in _generators():
        if (key := f"generator.{name}") in tensors:
            (torch.set_rng_state if name == "cpu" else torch.cuda.set_rng_state)(tensors[key])
    return state


def _generators() -> dict[str, torch.Tensor]:
    """torch's own generators, which a network may use (dropout); the pipeline's own depend on seed
    and step alone.
    """
    found = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.get_rng_state()
    return found
