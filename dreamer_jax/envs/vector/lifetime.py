"""What ends a worker process: its parent, and no signal that reaches a whole group of processes.

`timeout`, systemd, Slurm and a terminal signal every process of a run. The parent decides what that
means; a worker that ended at once would take its open episodes along. In return it may not outlive
its parent, however that ended and whatever the simulator is doing.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LOOK_SECONDS = 2.0  # between looks at who the parent is
_END_SECONDS = 5.0  # for a worker without parent to close its environments


@contextmanager
def shielded_start() -> Iterator[None]:
    """In the parent: a process that is started here begins with the signals blocked."""
    # It would take the block away when it starts with the first process.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent_only() -> None:
    """In the worker: pass over the signals from now on, and end if the parent has ended."""
    # What a simulator starts would inherit that a signal is ignored, but not a handler. So a
    # terminal's Ctrl-C spares it, and it can still be ended by the simulator.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _pass_over)
    signal.siginterrupt(signal.SIGTERM, False)  # system calls of the simulator go on
    os.register_at_fork(after_in_child=_end_on_sigterm)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    threading.Thread(target=_end_after_parent, name="parent-watch", daemon=True).start()


def _pass_over(number: int, frame: FrameType | None) -> None:
    """Do nothing."""


def _end_on_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end_after_parent() -> None:
    """Wait for the parent to end, then for the worker to end by itself, then end it."""
    parent: Any = multiprocessing.parent_process()
    # A pipe alone does not tell: any process that the parent forked may hold a copy of its end.
    while not wait([parent.sentinel], _LOOK_SECONDS) and os.getppid() == parent.pid:
        pass
    threading.Event().wait(_END_SECONDS)
    os._exit(1)
