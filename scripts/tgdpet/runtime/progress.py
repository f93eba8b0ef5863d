"""One progress display: a bar on a terminal, lines with rate and time left in a log.

A log gets a line every 10 s, and every minute after the first.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

LOG_EVERY_S = 10.0
OFTEN_FOR_S = 60.0  # a long job's log gets a line a minute after its first
LATER_EVERY_S = 60.0
SUFFIXES = (("G", 1e9, 1e9), ("M", 1e6, 1e6), ("k", 1e4, 1e3))  # suffix, used from, its unit


class Progress:
    """Count up to `total` units of work; use as a context manager and call `update`.

    Silent without `show`.
    """

    def __init__(self, total: float, desc: str, unit: str = "it", *, show: bool = True) -> None:
        self.total = total
        self.desc = desc
        self.unit = unit
        self.done = 0.0

        self._show = show
        self._bar: Any = None
        self._start = time.monotonic()
        self._last = self._start

        if show and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total, desc=desc, unit=unit, unit_scale=True, dynamic_ncols=True, leave=False
            )

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._show and kind is None and time.monotonic() - self._start > LOG_EVERY_S:
            self._line({})

    def update(self, n: float = 1, **shown: Any) -> None:
        """Add `n` units; `shown` values appear beside the bar or in the line."""
        self.done += n

        if self._bar is not None:
            self._bar.update(n)
            if shown:
                self._bar.set_postfix({k: _value(v) for k, v in shown.items()}, refresh=False)
        elif self._show and time.monotonic() - self._last >= self._pause_s():
            self._line(shown)

    def _pause_s(self) -> float:
        """Seconds from one line of a log to the next."""
        running_s = time.monotonic() - self._start
        return LOG_EVERY_S if running_s <= OFTEN_FOR_S else LATER_EVERY_S

    def _line(self, shown: dict[str, Any]) -> None:
        now = time.monotonic()
        self._last = now

        rate = self.done / max(now - self._start, 1e-9)  # units/s
        left_s = (self.total - self.done) / rate if rate > 0 else float("inf")
        percent = 100 * self.done / max(self.total, 1e-9)
        extra = "".join(f", {k} {_value(v)}" for k, v in shown.items())

        print(
            f"{self.desc}: {percent:3.0f} % of {_short(self.total)} {self.unit}, "
            f"{_short(rate)} {self.unit}/s, {left_s:.0f} s left{extra}",
            file=sys.stderr,
            flush=True,
        )


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _short(number: float) -> str:
    for suffix, least, unit in SUFFIXES:
        if abs(number) >= least:
            return f"{number / unit:.1f}{suffix}"

    return f"{number:.4g}"
