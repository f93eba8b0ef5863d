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
from .digests import file_digest

SUFFIX = ".provenance.json"


def write_records(
    outputs: Sequence[Path],
    read: Iterable[Path],
    argv: Sequence[str],
    started: float,
) -> None:
    """Write the records of a job's `outputs`, unless one of them is a sidecar itself.

    `read` are the files that the script names as read, `argv` those of its command line after its
    name, `started` is `time.time()` at the job's beginning, s. What the job wrote is no input.
    """
    if not outputs or any(_is_sidecar(path) for path in outputs):
        return

    provenance = files.sidecar(
        inputs=_inputs(read, argv, outputs),
        settings={"words": list(argv)},
        seed=_seed(argv),
        device="cpu",
        started=started,
    )

    by_folder: dict[Path, list[Path]] = {}
    for path in outputs:
        by_folder.setdefault(path.parent, []).append(path)

    for folder, paths in by_folder.items():
        content = {"outputs": _hashes(paths), "provenance": provenance}
        files.write_json(folder / f"{paths[0].name}{SUFFIX}", content)


def _hashes(paths: Iterable[Path]) -> dict[str, str]:
    """Name -> digest of the files that are still there."""
    return {path.name: file_digest(path) for path in paths if path.exists()}


def _inputs(
    read: Iterable[Path],
    argv: Sequence[str],
    outputs: Sequence[Path],
) -> list[str]:
    """Each input once, as it was named, in the order of the names."""
    named = {str(path) for path in read}
    for word in argv:
        if not word.startswith("-") and os.path.isfile(word):
            named.add(word)

    by_whole_path = {}
    for name in sorted(named):
        by_whole_path[os.path.abspath(name)] = name

    for path in outputs:
        by_whole_path.pop(os.path.abspath(path), None)

    return list(by_whole_path.values())


def _is_sidecar(path: Path) -> bool:
    if path.suffix != ".json" or not path.exists():
        return False

    content = files.read_json(path)
    return isinstance(content, dict) and "provenance" in content


def _seed(argv: Sequence[str]) -> int | None:
    """The value of the option --seed, if there is one."""
    if "--seed" not in argv:
        return None

    following = argv.index("--seed") + 1
    return int(argv[following])
