"""Compiled kernels, kept on the disk in a folder that can be written to.

numba keeps them beside the module or in the user's cache folder. In a container as a plain user
neither may be there: a private folder for temporary files stands in, or they are compiled anew by
every process. NUMBA_CACHE_DIR names another folder.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.misc.appdirs import AppDirs

PRIVATE = 0o700  # numba unpickles what it finds: nobody else may write there
SETTINGS: Any = numba.config  # filled at run time, which type checkers cannot see
ADVICE = "set NUMBA_CACHE_DIR to a folder that can be written to"


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """numba's `njit`, kept on the disk where there is a place for it."""
    decorator: Callable[[Callable[..., Any]], Any] = numba.njit(cache=HAS_CACHE, **options)
    return decorator


def find_cache(own_folders: list[Path], temporary: Path) -> Path | None:
    """The first of numba's `own_folders` that can be written to, else a private one in `temporary`.

    None where nothing can be written to.
    """
    for folder in own_folders:
        if _is_writable(folder):
            return folder

    private = temporary / f"tgdpet-numba-{os.getuid()}"
    if _is_writable(private) and _is_private(private):
        return private

    return None


def set_cache() -> bool:
    """Tell numba of a folder for compiled kernels; whether there is one, and a line if not."""
    own_folders = [
        Path(__file__).parent / "__pycache__",
        Path(AppDirs(appname="numba", appauthor=False).user_cache_dir),
    ]
    if SETTINGS.CACHE_DIR:
        own_folders.insert(0, Path(SETTINGS.CACHE_DIR))

    try:
        temporary = Path(tempfile.gettempdir())
    except FileNotFoundError:  # no folder at all
        temporary = Path(os.devnull)

    folder = find_cache(own_folders, temporary)
    if folder is None:
        print(
            f"compiled kernels are kept nowhere, every job compiles anew: {ADVICE}", file=sys.stderr
        )
        return False

    if folder not in own_folders:
        SETTINGS.CACHE_DIR = str(folder)

    return True


def _is_writable(folder: Path) -> bool:
    """Whether a file can be written into a folder, which is made where it is missing."""
    try:
        folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False

    return True


def _is_private(folder: Path) -> bool:
    """Whether a folder is this user's and nobody else may write to it."""
    status = folder.lstat()
    is_own_folder = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
    by_others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)

    return is_own_folder and not by_others


HAS_CACHE = set_cache()
