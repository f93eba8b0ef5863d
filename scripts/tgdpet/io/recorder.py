"""What a script read and wrote, noted while it runs: the provenance of results that have no sidecar
of their own.

Inputs are files that were opened below a path of the command line, outputs those that
`files.atomic` wrote. One record a job and folder, `NAME.provenance.json` beside its first output
NAME. Files named on the command line count even where a library reads them unseen (safetensors).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import files

SUFFIX = ".provenance.json"
_opened: set[str] | None = None  # None: nobody listens
_hooked = False


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if (
        _opened is not None
        and event == "open"
        and isinstance(arguments[0], (str, bytes, os.PathLike))
    ):
        _opened.add(os.fsdecode(arguments[0]))


@contextmanager
def recorded(words: list[str]) -> Iterator[None]:
    """Note what is read and written while the block runs, and write the record when it ends without
    an error.

    `words` are those of the command line after the script's name; files elsewhere (libraries,
    fonts) are no inputs.
    """
    global _opened, _hooked
    if not _hooked:  # cannot be taken back
        sys.addaudithook(_note)
        _hooked = True
    started, before = time.time(), len(files.written)
    _opened = set()
    try:
        yield
    finally:
        opened, _opened = _opened, None
    outputs = files.written[before:]
    if not outputs or any(_has_sidecar(path) for path in outputs):
        return
    parts = {
        part for word in words if not word.startswith("-") for part in (word, *word.split(":"))
    }
    places = {os.path.abspath(part) for part in parts if part and os.path.exists(part)}
    done = {os.path.abspath(path) for path in outputs}
    opened |= {word for word in words if not word.startswith("-") and os.path.isfile(word)}
    read = {os.path.abspath(path): path for path in sorted(opened)}  # once, relative where it was
    inputs = [path for whole, path in read.items() if whole not in done and _below(whole, places)]
    told = files.sidecar(inputs, {"words": words}, _value(words, "--seed"), "cpu", started)
    for folder in dict.fromkeys(path.parent for path in outputs):
        own = [path for path in outputs if path.parent == folder]
        hashes = {path.name: files.sha256(path) for path in own if path.exists()}
        files.write_json(
            own[0].with_name(own[0].name + SUFFIX), {"outputs": hashes, "provenance": told}
        )


def _below(path: str, places: set[str]) -> bool:
    """Whether `path` is a file in one of the folders `places`, or one of them."""
    return os.path.isfile(path) and any(
        path == place or path.startswith(place.rstrip("/") + "/") for place in places
    )


def _has_sidecar(path: Path) -> bool:
    if path.suffix != ".json" or not path.exists():
        return False
    content = files.read_json(path)
    return isinstance(content, dict) and "provenance" in content


def _value(words: list[str], option: str) -> int | None:
    return int(words[words.index(option) + 1]) if option in words else None
