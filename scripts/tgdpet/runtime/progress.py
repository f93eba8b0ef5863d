"""One progress display: a bar on a terminal; in a log, lines with rate and time left, every 10 s,
then every minute.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

LOG_EVERY_S = 10.0
OFTEN_FOR_S = 60.0  # a long job's log gets a line a minute after its first
LATER_EVERY_S = 60.0


class Progress:
    """Count up to `total` units of work; use as a context manager and call `update`. Silent without
    `show`.
    """

    def __init__(self, total: float, desc: str, unit: str = "it", *, show: bool = True) -> None:
        self.total, self.desc, self.unit = total, desc, unit
        self.done = 0.0
        self._bar: Any = None
        self._start = self._last = time.monotonic()
        self._show = show
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
                self._bar.set_postfix({k: _text(v) for k, v in shown.items()}, refresh=False)
        elif self._show and time.monotonic() - self._last >= self._pause():
            self._line(shown)

    def _pause(self) -> float:
        """Seconds from one line of a log to the next."""
        return LOG_EVERY_S if time.monotonic() - self._start <= OFTEN_FOR_S else LATER_EVERY_S

    def _line(self, shown: dict[str, Any]) -> None:
        self._last = now = time.monotonic()
        rate = self.done / max(now - self._start, 1e-9)
        left = (self.total - self.done) / rate if rate > 0 else float("inf")
        extra = "".join(f", {k} {_text(v)}" for k, v in shown.items())
        print(
            f"{self.desc}: {100 * self.done / max(self.total, 1e-9):3.0f} % of {_short(self.total)} {self.unit}, "
            f"{_short(rate)} {self.unit}/s, {left:.0f} s left{extra}",
            file=sys.stderr,
            flush=True,
        )


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _short(number: float) -> str:
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= limit:
            return f"{number / {'G': 1e9, 'M': 1e6, 'k': 1e3}[suffix]:.1f}{suffix}"
    return f"{number:.4g}"
