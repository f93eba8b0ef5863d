"""SIGTERM, which schedulers send before the end of the wall time, and Ctrl-C: noted instead of died
of.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Termination:
    """While it is entered, notes either in `requested`, so that a job can end in good order; a
    second Ctrl-C ends it at once.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._handlers_before: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether somebody asked for the end."""
        return self.signal is not None

    @property
    def exit_status(self) -> int:
        """The status that a process ends with after it: 128 and the signal's number, SIGTERM's
        where another process was asked.
        """
        return 128 + (self.signal or signal.SIGTERM)

    def __enter__(self) -> Termination:
        for number in SIGNALS:
            # What is ignored stays so: a job in the background, nohup.
            if signal.getsignal(number) == signal.SIG_IGN:
                continue

            try:
                self._handlers_before[number] = signal.signal(number, self._note)
            except ValueError:  # not the main thread
                break

        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)

        self._handlers_before.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        if number == signal.SIGINT:
            signal.signal(number, self._handlers_before[number])
