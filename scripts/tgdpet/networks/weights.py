"""Networks on disk: safetensors with a JSON card in the metadata; never pickle."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from .. import __version__
from ..io.files import NETWORK_KEY as KEY
from ..io.files import atomic
from .dncnn import DnCNN

# of the card and the tensors' names; files without the key are the first ones, and are format 1
FORMAT = 1


@dataclass(frozen=True)
class Card:
    """What is known of a network: name, width, scale (Bq/mL per unit), ancestors, mask and
    provenance.

    `mask` maps a module to the output channels that its last adaptation could move. Nothing here
    depends on the clock, so that the same run writes the same bytes.
    """

    network: str
    width: float
    intensity_scale_bqml: float
    parents: list[str] = field(default_factory=list)
    mask: dict[str, list[int]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)


def save(path: str | Path, model: nn.Module, card: Card) -> None:
    """Write weights, running statistics and card, whole or not at all; ValueError where one is NaN
    or infinite.
    """
    tensors = {n: t.detach().cpu().contiguous() for n, t in model.state_dict().items()}
    _check_finite(path, tensors)
    content = {"format": FORMAT, **dataclasses.asdict(card)}
    write_tensors(path, tensors, {KEY: json.dumps(content, sort_keys=True)})


def write_tensors(
    path: str | Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]
) -> None:
    """Write a safetensors file whole or not at all; OSError naming it where the disk refuses."""
    with atomic(path) as temporary:
        try:
            save_file(tensors, temporary, metadata=metadata)
        except SafetensorError as error:  # its own exception, for a full disk too
            raise OSError(str(error)) from error
        if temporary.exists():  # safetensors writes for its owner's eyes only, whatever the umask
            os.umask(mask := os.umask(0))
            temporary.chmod(0o666 & ~mask)


def load(path: str | Path, device: torch.device | str = "cpu") -> tuple[DnCNN, Card]:
    """Read a network in eval mode and its card.

    Raises FileNotFoundError, or ValueError naming the file when it is damaged, not one of ours or
    of a newer format.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: no such network")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a readable safetensors file: {error}") from error
    card = _card(path, metadata)
    _check_finite(path, state)
    try:
        model = DnCNN(card.width, torch.Generator().manual_seed(0))
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"{path}: weights do not fit a DnCNN of width {card.width:g}: {error}"
        ) from error
    return model.to(device).eval(), card


def masks(model: DnCNN, card: Card) -> dict[str, torch.Tensor]:
    """The card's mask of scored modules as booleans (out channels,): True where the last adaptation
    could move it.

    Raises ValueError where the mask names a channel that the network lacks.
    """
    out = {}
    for name, channels in card.mask.items():
        if name not in (scored := model.scored):
            continue
        if not all(isinstance(c, int) and 0 <= c < scored[name] for c in channels):
            raise ValueError(
                f"{card.network}: mask of {name}: expected channels from 0 to {scored[name] - 1}"
            )
        out[name] = torch.zeros(scored[name], dtype=torch.bool)
        out[name][channels] = True
    return out


def _check_finite(path: str | Path, tensors: dict[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"{path}: {name} holds NaN or infinite values")


def _card(path: str | Path, metadata: dict[str, str]) -> Card:
    if KEY not in metadata:
        raise ValueError(
            f"{path}: no {KEY!r} entry in the metadata; this is not a network of this pipeline"
        )
    try:
        content = json.loads(metadata[KEY])
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: the metadata are not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: the metadata: expected a JSON object, got a {type(content).__name__}"
        )
    form = content.get("format", 1)
    if type(form) is not int or form < 1:
        raise ValueError(
            f"{path}: the metadata's format: expected a whole number >= 1, got {form!r}"
        )
    if form > FORMAT:
        raise ValueError(
            f"{path}: format {form} is newer than what tgdpet {__version__} reads (up to {FORMAT}): update tgdpet"
        )
    names = {f.name for f in dataclasses.fields(Card)}
    missing = {"network", "width", "intensity_scale_bqml"} - set(content)
    if missing:
        raise ValueError(f"{path}: the metadata lack {', '.join(sorted(missing))}")
    for key in ("width", "intensity_scale_bqml"):
        value = content[key]
        if not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise ValueError(f"{path}: the metadata's {key}: expected a number > 0, got {value!r}")
    return Card(**{k: v for k, v in content.items() if k in names})
