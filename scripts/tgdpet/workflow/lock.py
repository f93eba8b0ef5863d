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
from pathlib import Path

LOCKS, HOLDERS = Path(".snakemake/locks"), Path(".snakemake/tgdpet_holders")
KILLED = "a Snakemake that was killed"
UNLOCK = "nobody runs here any more: `snakemake --unlock` with the same options, then the same command again"


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
    note = work / HOLDERS / f"{hashlib.sha256(chr(0).join(folders).encode()).hexdigest()[:12]}.json"
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
        try:
            who = json.loads(note.read_text(encoding="utf-8"))
            pid, host, folders = (
                int(who["pid"]),
                str(who["host"]),
                [Path(path) for path in who["results"]],
            )
            words = f"process {pid} of {who['user']} on {host}, since {who['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            continue
        shared = folders if wanted is None else [f for f in folders if f in wanted]
        if any(path.is_relative_to(folder) for path in locked for folder in shared):
            told = _told(work, pid, host, words)
            if told is not None:
                return told
    return None


def _locked_files(work: Path) -> list[str]:
    """What runs in `work` are to write, as Snakemake's locks list it."""
    lines: list[str] = []
    for lock in (work / LOCKS).glob("*.output.lock"):
        with contextlib.suppress(OSError):  # it ended a moment ago
            lines += lock.read_text(encoding="utf-8").splitlines()
    return lines


def _told(work: Path, pid: int, host: str, words: str) -> str | None:
    if pid == os.getpid() and host == platform.node():
        return None
    if host != platform.node():
        return f"{work} is locked by Snakemake ({words}); if it is gone, {UNLOCK}"
    if alive(pid):
        return f"{work} is locked by Snakemake ({words}), which is at work: wait for it or stop it first"
    return f"{work} is locked by {KILLED} ({words}); {UNLOCK}"


def alive(pid: int) -> bool:
    """Whether a process of this number runs on this machine and is Snakemake (numbers are used
    again).
    """
    try:
        return (
            b"snakemake" in Path(f"/proc/{pid}/cmdline").read_bytes()
            if os.path.isdir("/proc/self")
            else _signal(pid)
        )
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
    place = _existing(results)
    if not place.is_dir():
        raise ValueError(f"results: {place}: expected a folder, it is a file")
    probe = place / f".tmp-{platform.node()}-{os.getpid()}-probe"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(f"results: {place}: cannot be written: {error.strerror}") from error


def room(results: str | Path, needed_gb: float) -> str | None:
    """A warning where the disk of `results` has less room than the whole run takes at its peak."""
    place = _existing(results)
    free_gb = shutil.disk_usage(place).free / 1e9
    if free_gb >= needed_gb:
        return None
    return f"warning: {place} has {free_gb:.3g} GB free; a whole run takes up to {needed_gb:.3g} GB"


def _existing(path: str | Path) -> Path:
    path = Path(path).absolute()
    while not path.exists():
        path = path.parent
    return path


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, in containers
        return str(os.getuid())
