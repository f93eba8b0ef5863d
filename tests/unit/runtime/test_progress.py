"""Progress: lines with share, rate and time left in a log, a bar on a terminal."""

from __future__ import annotations

import re
import sys

import pytest

from tgdpet.runtime import progress
from tgdpet.runtime.progress import Progress


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_a_log_gets_a_line_every_ten_seconds(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(200, "reconstruct a", "events") as bar:
        for _ in range(50):
            clock.now += 1
            bar.update(2, loss=0.12345678)
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 5
        assert lines[0] == "reconstruct a:  10 % of 200 events, 2 events/s, 90 s left, loss 0.1235"
        assert "50 % of 200" in lines[-1] and "50 s left" in lines[-1]
    assert len(capsys.readouterr().err.splitlines()) == 1, "the last line says that it is done"


def test_after_a_minute_a_log_gets_a_line_a_minute(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(10_000, "train a", "steps") as bar:
        for _ in range(300):
            clock.now += 1
            bar.update(1)
    assert (
        len(capsys.readouterr().err.splitlines()) == 6 + 4 + 1
    )  # of the first minute, the later ones, the end


def test_a_process_that_is_not_the_first_shows_nothing(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(10, "x", show=False) as bar:
        clock.now += 30
        bar.update(10)
    assert capsys.readouterr().err == ""


def test_quick_work_says_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(10, "x") as bar:
        clock.now += 3
        bar.update(10)
    assert capsys.readouterr().err == ""


def test_work_that_failed_is_not_reported_as_done(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError), Progress(10, "x") as bar:
        bar.update(1)
        clock.now += 30
        raise ValueError
    assert capsys.readouterr().err == ""


def test_before_anything_is_done_no_time_is_promised(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(10, "x") as bar:
        clock.now += 11
        bar.update(0)
    assert "inf s left" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "text"),
    [(9999, "9999"), (12_345, "12.3k"), (4.2e6, "4.2M"), (3.14e9, "3.1G"), (0.5, "0.5")],
)
def test_large_numbers_are_short(number: float, text: str) -> None:
    assert progress._short(number) == text


def test_a_terminal_gets_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress(4, "train", "steps") as bar:
        for _ in range(4):
            bar.update(1, loss=0.5)
        bar._bar.refresh()
    assert re.search(r"train:\s+100%.*4\.00/4\.00.*loss=0\.5", capsys.readouterr().err)
