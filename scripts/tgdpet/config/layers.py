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


def let_phi_replace_fraction(
    config: Mapping[str, Any], layers: Sequence[Mapping[str, Any]]
) -> None:
    """Drop a network's `fraction` from the merged configuration where a later layer says `phi`.

    A fraction goes before a phi, so that `TGD-net: {phi: 0.4}` over a file with a fraction would
    do nothing. A phi that no layer knows of comes from a module's `config:`, the last of all.
    """
    for name, entry in _entries(config).items():
        said = [_entries(layer).get(name, {}) for layer in layers]
        chosen = [_choice(words) for words in said if _choice(words)]
        of_module = "phi" in entry and not any("phi" in words for words in said)

        if of_module or chosen[-1:] == ["phi"]:
            entry.pop("fraction", None)
            entry.pop("fraction_of", None)


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
