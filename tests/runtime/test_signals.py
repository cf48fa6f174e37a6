"""Signals ask a run to stop; only impatience ends it at once."""

from __future__ import annotations

import signal
import threading

import pytest

from dreamer_jax.runtime.signals import StopRequest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_first_signal_only_asks(number):
    with StopRequest() as stop:
        assert not stop.requested
        signal.raise_signal(number)
        assert stop.requested


def test_second_interrupt_does_not_wait():
    with pytest.raises(KeyboardInterrupt), StopRequest():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)


def test_second_termination_still_waits():
    """A scheduler may send it twice; the checkpoint under way is worth more."""
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested


@pytest.mark.parametrize("error", [None, RuntimeError])
def test_handlers_come_back(error):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        with StopRequest():
            assert signal.getsignal(signal.SIGTERM) != before[0]
            if error:
                raise error
    except RuntimeError:
        pass
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_in_another_thread_no_signal_is_caught():
    """Only the main thread may set handlers: `ValueError` ended every run in another one."""
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    seen = []

    def work() -> None:
        with StopRequest() as stop:
            seen.append(stop.requested)
            seen.extend(signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False, *before]
