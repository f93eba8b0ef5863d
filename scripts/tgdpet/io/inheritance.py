"""What a BIDS data set says of an image: the JSON file beside it and those higher up.

By BIDS's inheritance principle (1.9, "The inheritance principle") a JSON file of the same suffix
applies to all images below it that have its entities; the nearest one's values count.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .damage import shown
from .files import read_json

ROOT_FILE = "dataset_description.json"


def read_sidecar(beside: Path) -> dict[str, Any] | None:
    """What is said of the image whose own JSON file `beside` would be; None where nothing is.

    ValueError naming a file that is no JSON object, or two that apply in one folder.
    """
    applicable = [*_above(beside), *([beside] if beside.exists() else [])]
    if not applicable:
        return None

    content: dict[str, Any] = {}
    for path in applicable:
        said = read_json(path)
        if not isinstance(said, dict):
            raise ValueError(f"{path}: expected a JSON object, got {shown(said)}")
        content |= said

    return content


def _above(beside: Path) -> list[Path]:
    """The other JSON files that apply, the data set's root first."""
    entities, suffix = _parts(beside.stem)
    folders = _folders(beside.absolute().parent)

    found = []
    for folder in folders:
        here = []
        for path in sorted(folder.glob(f"*{suffix}.json")):
            theirs, their_suffix = _parts(path.stem)
            if path.stem != beside.stem and their_suffix == suffix and theirs <= entities:
                here.append(path)

        if len(here) > 1:
            both = f"{here[0].name} and {here[1].name}"
            raise ValueError(f"{folder}: {both} both apply to {beside.stem}; BIDS allows one")
        found += here

    return found


def _folders(nearest: Path) -> list[Path]:
    """The folders from the data set's root down to `nearest`; none outside of a data set."""
    upwards = [nearest, *nearest.parents]
    for depth, folder in enumerate(upwards):
        if (folder / ROOT_FILE).exists():
            return upwards[depth::-1]

    return []


def _parts(stem: str) -> tuple[set[str], str]:
    """Entities and suffix of a BIDS name: sub-1_ses-a_pet is {sub-1, ses-a} and pet."""
    *entities, suffix = stem.split("_")

    return set(entities), suffix
