"""Records of origin for results that have no sidecar of their own.

One record a job and folder, `NAME.provenance.json` beside the job's first output NAME there. The
outputs are those that `files.atomic` wrote. The inputs are the files that the command line names
and those that the script says it read beyond them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from . import files

SUFFIX = ".provenance.json"


def write_records(
    outputs: Sequence[Path], read: Iterable[Path], words: Sequence[str], started: float
) -> None:
    """Write the records of a job's `outputs`, unless one of them is a sidecar itself.

    `read` are the files that the script names as read, `words` those of its command line after its
    name, `started` is `time.time()` at the job's beginning, s. What the job wrote is no input.
    """
    if not outputs or any(_is_sidecar(path) for path in outputs):
        return

    inputs = _inputs(read, words, outputs)
    settings = {"words": list(words)}
    provenance = files.sidecar(inputs, settings, _seed(words), "cpu", started)

    for folder in dict.fromkeys(path.parent for path in outputs):
        in_folder = [path for path in outputs if path.parent == folder]
        hashes = {path.name: files.sha256(path) for path in in_folder if path.exists()}

        record = in_folder[0].with_name(in_folder[0].name + SUFFIX)
        files.write_json(record, {"outputs": hashes, "provenance": provenance})


def _inputs(read: Iterable[Path], words: Sequence[str], outputs: Sequence[Path]) -> list[str]:
    """Each input once, as it was named, in the order of the names."""
    options_left_out = (word for word in words if not word.startswith("-"))
    named = {word for word in options_left_out if os.path.isfile(word)}
    named |= {str(path) for path in read}

    written = {os.path.abspath(path) for path in outputs}
    by_whole_path = {os.path.abspath(name): name for name in sorted(named)}

    return [name for whole_path, name in by_whole_path.items() if whole_path not in written]


def _is_sidecar(path: Path) -> bool:
    if path.suffix != ".json" or not path.exists():
        return False

    content = files.read_json(path)
    return isinstance(content, dict) and "provenance" in content


def _seed(words: Sequence[str]) -> int | None:
    """The value of the option --seed, if there is one."""
    return int(words[words.index("--seed") + 1]) if "--seed" in words else None
