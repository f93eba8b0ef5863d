"""Networks on disk: safetensors with a JSON card in the metadata; never pickle."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .. import __version__
from ..io.contents import NETWORK, Anything, ListOf, Number, Object, Text, check
from ..io.damage import readable, reason, shown
from ..io.files import NETWORK_KEY, atomic, parsed_json
from .dncnn import DnCNN
from .tensor_digest import with_digest, without_digest

# Of the card and the tensors' names; files without the key are the first ones, and are format 1.
WEIGHTS_FORMAT = 1
WIDEST = 64  # times the paper's network; its kernels would be 300 GB
CARD = Object(
    needed={
        "network": Text(NETWORK),
        "width": Number(above=0, high=WIDEST),
        "intensity_scale_bqml": Number(above=0),
    },
    more={
        "parents": ListOf(Text(NETWORK)),
        "mask": Object(others=ListOf(Number(low=0, whole=True))),
        "settings": Object(others=Anything()),
        "provenance": Object(others=Anything()),
    },
    others=Anything(),
)


@dataclass(frozen=True)
class Card:
    """What is known of a network: name, width, scale (Bq/mL per unit), ancestors, mask, provenance
    and domain.

    `mask` maps a module to the output channels that its last adaptation could update. `domain` says
    what images it was trained on (`networks.domain`), where that was measured. Nothing here depends
    on the clock, so that the same run writes the same bytes.
    """

    network: str
    width: float
    intensity_scale_bqml: float
    parents: list[str] = field(default_factory=list)
    mask: dict[str, list[int]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    domain: dict[str, list[Any]] = field(default_factory=dict)


def save(path: str | Path, model: nn.Module, card: Card) -> None:
    """Write weights, running statistics and card, whole or not at all; ValueError where one is NaN
    or infinite.
    """
    state = model.state_dict()
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    _check_finite(path, tensors)

    content = {"format": WEIGHTS_FORMAT, **dataclasses.asdict(card)}
    if not card.domain:  # not measured
        del content["domain"]
    check(content, CARD, path)
    write_tensors(path, tensors, {NETWORK_KEY: with_digest(content, tensors)})


def write_tensors(path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file whole or not at all; OSError naming it where the disk refuses."""
    with atomic(path) as temporary:
        try:
            save_file(tensors, temporary, metadata=metadata)
        except SafetensorError as error:
            # Its own exception, for a full disk too.
            raise OSError(str(error)) from error

        # safetensors writes for its owner's eyes only, whatever the umask, which can only be read
        # by setting it.
        if temporary.exists():
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors and the metadata of a safetensors file; ValueError naming a damaged one."""
    with readable(path, "safetensors file"), safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        names = file.keys()
        tensors = {name: file.get_tensor(name) for name in names}

    return tensors, metadata


def load(path: str | Path, device: torch.device | str = "cpu") -> tuple[DnCNN, Card]:
    """Read a network in eval mode and its card.

    Raises FileNotFoundError, or ValueError naming the file when it is damaged, not one of ours or
    of a newer format.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: no such network")

    tensors, metadata = read_tensors(path)
    card = _read_card(path, tensors, metadata)
    _check_fit(path, tensors, card.width)
    _check_finite(path, tensors)

    model = DnCNN(card.width, torch.Generator().manual_seed(0))
    model.load_state_dict(tensors)

    return model.to(device).eval(), card


def masks(model: DnCNN, card: Card) -> dict[str, Tensor]:
    """The card's mask of scored modules as booleans (out channels,): True where the last adaptation
    could update it.

    Raises ValueError where the mask names a channel that the network lacks.
    """
    n_kernels = model.scored
    by_module = {}

    for module, channels in card.mask.items():
        if module not in n_kernels:
            continue

        last = n_kernels[module] - 1

        if not all(isinstance(channel, int) and 0 <= channel <= last for channel in channels):
            raise ValueError(
                f"{card.network}: mask of {module}: expected channels from 0 to {last}"
            )

        by_module[module] = torch.zeros(n_kernels[module], dtype=torch.bool)
        by_module[module][channels] = True

    return by_module


def _check_fit(path: str | Path, tensors: dict[str, Tensor], width: float) -> None:
    """Raise ValueError unless these are the tensors of a network of this width.

    Before the network takes memory: a card may claim any width.
    """
    with torch.device("meta"):
        expected = DnCNN(width).state_dict()

    for name in sorted({*expected, *tensors}):
        wanted = _description(expected.get(name))
        came = _description(tensors.get(name))
        if wanted != came:
            raise ValueError(
                f"{path}: weights do not fit a DnCNN of width {width:g}: "
                f"{shown(name)}: expected {wanted}, got {came}"
            )


def _description(tensor: Tensor | None) -> str:
    return "none" if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"


def _check_finite(path: str | Path, tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"{path}: {name} holds NaN or infinite values")


def _read_card(path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> Card:
    """The card of the metadata, or a ValueError that names what is wrong with it or the tensors."""
    if NETWORK_KEY not in metadata:
        raise ValueError(
            f"{path}: no {NETWORK_KEY!r} entry in the metadata; "
            "this is not a network of this pipeline"
        )

    try:
        content = parsed_json(metadata[NETWORK_KEY])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: the metadata are not valid JSON: {reason(error)}") from error

    source = f"{path}: the metadata"
    check(content, Object(others=Anything()), source)

    # First, whatever else a newer card may hold.
    _check_format(path, content.get("format", 1))

    content = without_digest(path, content, tensors)
    check(content, CARD, source)

    known = {field.name for field in dataclasses.fields(Card)}
    return Card(**{key: value for key, value in content.items() if key in known})


def _check_format(path: str | Path, version: Any) -> None:
    # A bool is an int, but no format.
    if type(version) is not int or version < 1:
        raise ValueError(
            f"{path}: the metadata's format: expected a whole number >= 1, got {version!r}"
        )

    if version > WEIGHTS_FORMAT:
        raise ValueError(
            f"{path}: format {version} is newer than what tgdpet {__version__} reads "
            f"(up to {WEIGHTS_FORMAT}): update tgdpet"
        )
