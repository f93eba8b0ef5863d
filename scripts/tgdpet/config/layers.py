"""What was said where: the configuration's files and the command line, each laid over the last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .yaml_files import read_yaml


def read_layers(paths: Iterable[str | Path]) -> list[Mapping[str, Any]]:
    """The configuration files. ConfigError where one says what is not meant: a key twice, 1:30.

    Snakemake, which reads and merges them itself, takes such a file in silence.
    """
    return [read_yaml(path) or {} for path in paths]


def settle(config: Mapping[str, Any], layers: Sequence[Mapping[str, Any]]) -> None:
    """In the merged configuration, drop what a later layer has made void.

    A network's `fraction` where a later layer says `phi`: a fraction goes before a phi, so that
    `TGD-net: {phi: 0.4}` over a file with a fraction would do nothing. How a network is made where
    a later layer takes it from a file: `TGD-net: {weights: mine.safetensors}` is enough.
    """
    for name, entry in _entries(config).items():
        said = [_entries(layer).get(name, {}) for layer in layers]
        _let_phi_replace_fraction(entry, said)
        _let_weights_replace_making(entry, said)


def _let_phi_replace_fraction(entry: dict[str, Any], said: Sequence[Mapping[str, Any]]) -> None:
    chosen = [_choice(words) for words in said if _choice(words)]

    if chosen[-1:] == ["phi"]:
        entry.pop("fraction", None)
        entry.pop("fraction_of", None)


def _let_weights_replace_making(entry: dict[str, Any], said: Sequence[Mapping[str, Any]]) -> None:
    """What is said beside or after the file stays, and is refused where it does not belong."""
    files = [number for number, words in enumerate(said) if words.get("weights") is not None]
    if not files or entry.get("weights") is None:
        return

    beside = {key for words in said[files[-1] :] for key in words}
    for key in set(entry) - beside - {"data", "weights"}:
        del entry[key]

    # What it was adapted to are images of v2.
    if "data" not in beside and entry.get("data") == "adapt":
        entry["data"] = "v2"


def _choice(words: Mapping[str, Any]) -> str | None:
    """By what a layer says that kernels are chosen; None where it says nothing of it."""
    if words.get("fraction") is not None:
        return "fraction"

    return "phi" if "phi" in words else None


def _entries(layer: Any) -> dict[str, dict[str, Any]]:
    """The networks of a layer, of what may be anything."""
    networks = layer.get("networks") if isinstance(layer, Mapping) else None
    if not isinstance(networks, Mapping):
        return {}

    return {str(name): entry for name, entry in networks.items() if isinstance(entry, dict)}
