"""The chain behind a result, from the sidecars alone: what it was made from, where, by which job
and version.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .damage import printable
from .digests import PATTERN, file_digest
from .files import read_json, sha256
from .recorder import SUFFIX

# Files of a folder whose origin one sidecar tells.
SHARED = ("listmode.json", "index.tsv" + SUFFIX)
# Endings of the files NAME.* that a sidecar NAME.json tells of.
WITH_SIDECAR = (".nii.gz", ".nii", ".safetensors", ".md", "_log.csv")


def find(path: Path) -> Path | None:
    """The file that tells where `path` came from: its sidecar, a job's record that lists it, or its
    folder's.
    """
    if path.suffix == ".json" and os.path.exists(path) and "provenance" in _content(path):
        return path

    name = path.name.lower()
    stems = [path.name[: -len(end)] for end in WITH_SIDECAR if name.endswith(end)]
    sidecars = [path.with_name(f"{stem}.json") for stem in stems]
    record = path.with_name(path.name + SUFFIX)
    for beside in (*sidecars, record):
        if os.path.exists(beside) and "provenance" in _content(beside):
            return beside

    for record in sorted(path.parent.glob("*" + SUFFIX)):
        if path.name in _object(_content(record), "outputs"):
            return record

    of_folder = (path.parent / name for name in SHARED)
    return next((shared for shared in of_folder if os.path.exists(shared)), None)


def tree(path: Path, depth: int | None = None) -> Iterator[str]:
    """Lines of the tree of all that `path` was made from; what was shown once is not shown
    again.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")

    yield from _lines(path, None, "", "", depth, set())


def _lines(
    path: Path, noted: str | None, first: str, rest: str, depth: int | None, shown: set[Path]
) -> Iterator[str]:
    """The lines of `path` and below; `noted` is its hash when it was read.

    `first` and `rest` stand before the first line and those below it.
    """
    origin = find(path)
    known = _object(_content(origin), "provenance") if origin is not None else {}
    inputs = _inputs(path, known)

    is_repeated = path in shown and bool(inputs)
    shown.add(path)

    state = "" if noted is None else _state(path, noted)
    note = "(see above)" if is_repeated else _summary(known)
    yield f"{first}{printable(str(path))}{state}  {printable(note)}"

    if is_repeated or not inputs:
        return

    if depth == 0:
        yield f"{rest}└─ ... {len(inputs)} inputs"
        return

    depth_left = None if depth is None else depth - 1
    for number, (name, digest) in enumerate(inputs.items(), 1):
        is_last = number == len(inputs)
        branch = rest + ("└─ " if is_last else "├─ ")
        below = rest + ("   " if is_last else "│  ")
        yield from _lines(Path(name), digest, branch, below, depth_left, shown)


def _inputs(path: Path, known: Mapping[str, Any]) -> dict[str, str]:
    """Name -> hash of what `path` was made from, without the sidecars of its other inputs."""
    inputs = {
        name: str(digest)
        for name, digest in _object(known, "inputs").items()
        if Path(name) != path and "\0" not in name
    }
    sidecars = {find(Path(name)) for name in inputs if not name.endswith(".json")}

    return {name: digest for name, digest in inputs.items() if Path(name) not in sidecars}


def _state(path: Path, noted: str) -> str:
    """What became of an input since."""
    if not os.path.isfile(path):  # of a device there is no end
        return "  [gone]"

    # Records of older versions hold the SHA-256.
    is_digest = PATTERN.fullmatch(noted) is not None
    found = file_digest(path) if is_digest else sha256(path)

    return "" if found == noted else "  [CHANGED SINCE]"


def _summary(known: Mapping[str, Any]) -> str:
    """When, where, by which job, device, seed and version a file was made, in brackets."""
    if not known:
        return "[no sidecar: an original, or made by hand]"

    software = _object(known, "software")
    facts = [
        f"{known.get('finished', '?')} on {known.get('host', '?')}",
        f"job {known.get('job') or 'none'}",
        str(known.get("device", "?")),
        f"seed {known.get('seed')}",
        f"tgdpet {software.get('tgdpet', '?')} {software.get('commit', '?')}",
    ]

    return f"[{', '.join(facts)}]"


def _object(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The object that stands under a key; an empty one where something else or nothing does."""
    value = content.get(key)

    return value if isinstance(value, dict) else {}


def _content(path: Path) -> dict[str, Any]:
    content = read_json(path)

    return content if isinstance(content, dict) else {}
