"""SIGTERM and Ctrl-C are noted while a job can end in good order, and kill as before afterwards."""

from __future__ import annotations

import signal
import threading

import pytest

from tgdpet.runtime.termination import Termination


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_noted_and_the_handler_before_it_returns(number: int, status: int) -> None:
    before = signal.getsignal(number)

    with Termination() as termination:
        assert not termination.requested
        signal.raise_signal(number)
        assert termination.requested
        assert termination.exit_status == status

    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_ends_the_job_at_once() -> None:
    with Termination():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_scheduler_may_ask_twice() -> None:
    with Termination() as termination:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert termination.requested


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Termination() as termination:
            signal.raise_signal(signal.SIGINT)
            assert not termination.requested
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_thread_that_may_set_no_handler_runs_without_one() -> None:
    requested = []

    def job() -> None:
        with Termination() as termination:
            requested.append(termination.requested)

    thread = threading.Thread(target=job)
    thread.start()
    thread.join()

    assert requested == [False]
