"""SIGTERM, which schedulers send before the end of the wall time, noted instead of died of."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any


class Termination:
    """While it is entered, notes SIGTERM in `requested`, so that a job can end in good order."""

    def __init__(self) -> None:
        self.requested = False
        self._handler_before: Any = None

    def __enter__(self) -> Termination:
        try:
            self._handler_before = signal.signal(signal.SIGTERM, self._note)
        except ValueError:  # not the main thread
            self._handler_before = None

        return self

    def __exit__(self, *_: object) -> None:
        if self._handler_before is not None:
            signal.signal(signal.SIGTERM, self._handler_before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
