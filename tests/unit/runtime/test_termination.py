"""SIGTERM is noted while a job can end in good order, and kills as before afterwards."""

from __future__ import annotations

import signal
import threading

from tgdpet.runtime.termination import Termination


def test_sigterm_is_noted_and_the_handler_before_it_returns() -> None:
    before = signal.getsignal(signal.SIGTERM)

    with Termination() as termination:
        assert not termination.requested
        signal.raise_signal(signal.SIGTERM)
        assert termination.requested

    assert signal.getsignal(signal.SIGTERM) is before


def test_a_thread_that_may_set_no_handler_runs_without_one() -> None:
    requested = []

    def job() -> None:
        with Termination() as termination:
            requested.append(termination.requested)

    thread = threading.Thread(target=job)
    thread.start()
    thread.join()

    assert requested == [False]
