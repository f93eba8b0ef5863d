"""The networks that come with the package, found by name instead of by path.

`shipped/index.json` lists them with their checksums; weights and cards lie beside it. No torch in
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..io.files import read_json, sha256

FOLDER = Path(__file__).parent / "shipped"
INDEX = "index.json"
SHIPPED = ("v1-net", "v2-net", "TGD-net")  # of a reference study


@dataclass(frozen=True)
class ShippedNetwork:
    """A network of the package: its name, weights file, checksum, and what it was made from.

    `domain` is the card's (`networks.domain`), `trained_on` one line in words.
    """

    name: str
    path: Path
    sha256: str
    trained_on: str
    domain: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def card(self) -> Path:
        """The page with data, numbers, limits and licence."""
        return self.path.with_suffix(".md")


def shipped(folder: Path = FOLDER) -> dict[str, ShippedNetwork]:
    """The networks that come with the package, by name; none where there is no index."""
    index = folder / INDEX
    if not index.exists():
        return {}

    networks = {}
    for name, content in read_json(index)["networks"].items():
        networks[name] = ShippedNetwork(
            name,
            folder / f"{name}.safetensors",
            content["sha256"],
            content["trained_on"],
            content["domain"],
        )

    return networks


def index_content(networks: Mapping[str, ShippedNetwork]) -> dict[str, Any]:
    """What `index.json` holds of these networks."""
    rows = {}
    for name, network in networks.items():
        rows[name] = {
            "sha256": network.sha256,
            "trained_on": network.trained_on,
            "domain": network.domain,
        }

    return {"networks": rows}


def find(model: str | Path, folder: Path = FOLDER) -> Path:
    """The weights file that a path or the name of a network of the package stands for.

    A file that exists goes first. Raises FileNotFoundError where there is neither, ValueError where
    the package's own file is damaged.
    """
    path = Path(model)
    if path.exists():
        return path

    known = shipped(folder)
    if str(model) not in known:
        names = ", ".join(known) or "none"
        raise FileNotFoundError(f"{path}: no such network; with the package come {names}")

    network = known[str(model)]
    if not network.path.exists():
        raise FileNotFoundError(f"{network.path}: missing: install tgdpet anew")

    if sha256(network.path) != network.sha256:
        raise ValueError(f"{network.path}: damaged, its checksum is another one: install anew")

    return network.path
