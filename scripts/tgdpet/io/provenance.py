"""The chain behind a result, from the sidecars alone: what it was made from, where, by which job
and version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .files import read_json, sha256
from .recorder import SUFFIX

# Files of a folder whose origin one sidecar tells.
SHARED = ("listmode.json", "index.tsv" + SUFFIX)
ENDINGS = (".nii.gz", ".safetensors", ".md", "_log.csv")


def find(path: Path) -> Path | None:
    """The file that tells where `path` came from: its sidecar, a job's record that lists it, or its
    folder's.
    """
    if path.suffix == ".json" and path.exists() and "provenance" in _content(path):
        return path
    stems = [path.name.removesuffix(end) for end in ENDINGS if path.name.endswith(end)]
    own = [path.with_name(f"{stem}.json") for stem in stems] + [path.with_name(path.name + SUFFIX)]
    for beside in own:
        if beside.exists() and "provenance" in _content(beside):
            return beside
    for record in sorted(path.parent.glob("*" + SUFFIX)):
        if path.name in _content(record).get("outputs", {}):
            return record
    return next((path.parent / name for name in SHARED if (path.parent / name).exists()), None)


def tree(path: Path, depth: int | None = None) -> Iterator[str]:
    """Lines of the tree of all that `path` was made from; what was shown once is not shown
    again.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    yield from _lines(path, None, "", "", depth, set())


def _lines(
    path: Path, noted: str | None, first: str, rest: str, depth: int | None, seen: set[Path]
) -> Iterator[str]:
    origin = find(path)
    known = _content(origin).get("provenance", {}) if origin is not None else {}
    inputs: dict[str, str] = {k: v for k, v in known.get("inputs", {}).items() if Path(k) != path}
    told_by = {find(Path(k)) for k in inputs if not k.endswith(".json")}
    inputs = {k: v for k, v in inputs.items() if Path(k) not in told_by}  # sidecars of other inputs
    again = path in seen and bool(inputs)
    seen.add(path)
    state = "" if noted is None else _state(path, noted)
    yield f"{first}{path}{state}{'  (see above)' if again else '  ' + _told(known)}"
    if again or not inputs:
        return
    if depth == 0:
        yield f"{rest}└─ ... {len(inputs)} inputs"
        return
    for number, (name, digest) in enumerate(inputs.items(), 1):
        last = number == len(inputs)
        yield from _lines(
            Path(name), digest, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "),
            None if depth is None else depth - 1, seen,
        )  # fmt: skip


def _state(path: Path, noted: str) -> str:
    """What became of an input since."""
    if not path.exists():
        return "  [gone]"
    return "" if sha256(path) == noted else "  [CHANGED SINCE]"


def _told(known: Mapping[str, Any]) -> str:
    if not known:
        return "[no sidecar: an original, or made by hand]"
    software = known.get("software", {})
    words = [
        f"{known.get('finished', '?')} on {known.get('host', '?')}", f"job {known.get('job') or 'none'}",
        str(known.get("device", "?")), f"seed {known.get('seed')}",
        f"tgdpet {software.get('tgdpet', '?')} {software.get('commit', '?')}",
    ]  # fmt: skip
    return f"[{', '.join(words)}]"


def _content(path: Path) -> dict[str, Any]:
    content = read_json(path)
    return content if isinstance(content, dict) else {}
