"""The folders that a run works in: who holds Snakemake's lock, whether results can be written and
have room.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..io.files import TEMPORARY, left_over

LOCKS, HOLDERS = Path(".snakemake/locks"), Path(".snakemake/tgdpet_holders")
KILLED = "a Snakemake that was killed"
UNLOCK = (
    "nobody runs here any more: `snakemake --unlock` with the same options, then the same command"
    " again"
)


def hold(work: Path, results: Sequence[str]) -> None:
    """Note that this process holds Snakemake's lock of the folders `results`, in the working folder
    `work`.
    """
    content = {
        "pid": os.getpid(),
        "host": platform.node(),
        "user": _user(),
        "since": time.strftime("%Y-%m-%d %H:%M"),
    }
    folders = sorted(str((work / path).absolute()) for path in results)

    # One note for each set of folders
    name = hashlib.sha256("\0".join(folders).encode()).hexdigest()[:12]
    note = work / HOLDERS / f"{name}.json"
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps({**content, "results": folders}), encoding="utf-8")


def holder(work: Path, results: Sequence[str] | None = None) -> str | None:
    """Who holds a lock of one of the folders `results`, or any lock of `work`, and what to do.

    None where nothing is locked or it is not known by whom. Runs into other folders do not disturb
    each other.
    """
    locked = [(work / name).absolute() for name in _locked_files(work)]
    wanted = None if results is None else [(work / path).absolute() for path in results]

    for note in sorted((work / HOLDERS).glob("*.json")):
        owner = _read(note)
        if owner is None:
            continue

        shared = owner.folders
        if wanted is not None:
            shared = [folder for folder in shared if folder in wanted]
        if any(path.is_relative_to(folder) for path in locked for folder in shared):
            advice = _advice(work, owner)
            if advice is not None:
                return advice

    return None


@dataclass(frozen=True)
class _Owner:
    """Whom a note names: a process, in words for people, and the results folders that it holds."""

    pid: int
    host: str
    words: str
    folders: list[Path]


def _read(note: Path) -> _Owner | None:
    """What a note says; None for a damaged one."""
    try:
        content = json.loads(note.read_text(encoding="utf-8"))
        pid = int(content["pid"])
        host = str(content["host"])
        folders = [Path(path) for path in content["results"]]
        words = f"process {pid} of {content['user']} on {host}, since {content['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return None

    return _Owner(pid, host, words, folders)


def _locked_files(work: Path) -> list[str]:
    """What runs in `work` are to write, as Snakemake's locks list it."""
    lines: list[str] = []
    for lock in (work / LOCKS).glob("*.output.lock"):
        with contextlib.suppress(OSError):  # it ended a moment ago
            lines += lock.read_text(encoding="utf-8").splitlines()

    return lines


def _advice(work: Path, owner: _Owner) -> str | None:
    """What to do about a lock; None where it is this process's own."""
    here = owner.host == platform.node()
    if here and owner.pid == os.getpid():
        return None

    if not here:
        return f"{work} is locked by Snakemake ({owner.words}); if it is gone, {UNLOCK}"

    if alive(owner.pid):
        at_work = "which is at work: wait for it or stop it first"
        return f"{work} is locked by Snakemake ({owner.words}), {at_work}"

    return f"{work} is locked by {KILLED} ({owner.words}); {UNLOCK}"


def alive(pid: int) -> bool:
    """Whether a process of this number runs on this machine and is Snakemake (numbers are used
    again).
    """
    if not os.path.isdir("/proc/self"):
        return _signal(pid)

    try:
        return b"snakemake" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _signal(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False

    return True


def check_writable(results: str | Path) -> None:
    """Raise ValueError if nothing can be written under `results`."""
    folder = _existing(results)
    if not folder.is_dir():
        raise ValueError(f"results: {folder}: expected a folder, it is a file")

    trial = folder / f"{TEMPORARY}{platform.node()}-{os.getpid()}-trial"
    try:
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise ValueError(f"results: {folder}: cannot be written: {error.strerror}") from error


def remove_left_over(results: str | Path) -> None:
    """Remove what killed jobs of this machine left half written in `results`, which this run owns.

    Another machine's jobs may still be at work: their files stay.
    """
    for folder, _, names in os.walk(results):
        if any(name.startswith(TEMPORARY) for name in names):
            for path in left_over(Path(folder)):
                path.unlink(missing_ok=True)


def room(results: str | Path, needed_gb: float) -> str | None:
    """A warning where the disk of `results` has less room than the whole run takes at its peak."""
    folder = _existing(results)
    free_gb = shutil.disk_usage(folder).free / 1e9
    if free_gb >= needed_gb:
        return None

    needed = f"a whole run takes up to {needed_gb:.3g} GB"
    return f"warning: {folder} has {free_gb:.3g} GB free; {needed}"


def _existing(path: str | Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    path = Path(path).absolute()
    while not path.exists():
        path = path.parent

    return path


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, in containers
        return str(os.getuid())
