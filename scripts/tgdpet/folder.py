"""The folders that a run works in: who holds Snakemake's lock, whether results can be written and have room."""

from __future__ import annotations

import getpass
import json
import os
import platform
import shutil
import time
from pathlib import Path

LOCKS, HOLDER = Path(".snakemake/locks"), Path(".snakemake/tgdpet_holder.json")
KILLED = "a Snakemake that was killed"
UNLOCK = "nobody runs here any more: `snakemake --unlock` with the same options, then the same command again"


def hold(work: Path) -> None:
    """Note that this process holds the lock of the working folder `work`."""
    content = {"pid": os.getpid(), "host": platform.node(), "user": _user(), "since": time.strftime("%Y-%m-%d %H:%M")}
    (work / HOLDER).write_text(json.dumps(content), encoding="utf-8")


def holder(work: Path) -> str | None:
    """Who holds the lock of `work`, and what to do; None where there is no lock or it is not known whose."""
    if not any((work / LOCKS).glob("*")):
        return None
    try:
        who = json.loads((work / HOLDER).read_text(encoding="utf-8"))
        pid, host = int(who["pid"]), str(who["host"])
        words = f"process {pid} of {who['user']} on {host}, since {who['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if pid == os.getpid() and host == platform.node():
        return None
    if host != platform.node():
        return f"{work} is locked by Snakemake ({words}); if it is gone, {UNLOCK}"
    if alive(pid):
        return f"{work} is locked by Snakemake ({words}), which is at work: wait for it or stop it first"
    return f"{work} is locked by {KILLED} ({words}); {UNLOCK}"


def alive(pid: int) -> bool:
    """Whether a process of this number runs on this machine and is Snakemake (numbers are used again)."""
    try:
        return (
            b"snakemake" in Path(f"/proc/{pid}/cmdline").read_bytes() if os.path.isdir("/proc/self") else _signal(pid)
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
