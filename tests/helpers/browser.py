"""Headless Chromium, where one is installed: a page opened from the disk, as a reader would."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
# WebGL 2 is drawn in software. No picture is asked for: now and then taking one never ends.
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--window-size=800,900")
TIMEOUT_S = 240


@functools.cache
def chromium() -> str | None:
    """The browser's program; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def open_page(page: Path, folder: Path, milliseconds: int = 4000) -> str:
    """What the page's document is after `milliseconds` of its own time."""
    program = chromium()
    assert program is not None
    places = [f"--user-data-dir={folder / 'profile'}", f"--virtual-time-budget={milliseconds}"]
    words = [program, *OPTIONS, *places, "--dump-dom", page.resolve().as_uri()]

    # Into a file and in a session of its own: where the browser hangs, its children go with it.
    document = folder / "document.html"
    with document.open("wb") as out:
        job = subprocess.Popen(words, stdout=out, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            job.wait(TIMEOUT_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.pid, signal.SIGKILL)
            job.wait()

    return document.read_text(encoding="utf-8")
