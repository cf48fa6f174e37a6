"""Stopping on request: the first SIGTERM or SIGINT asks, a second SIGINT does not wait.

Python hears signals in its main thread alone. A run in another thread leaves them to whoever
started that thread; it ends when its steps are done.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Protocol, Self


class Asked(Protocol):
    """Whatever knows whether a stop was asked for."""

    @property
    def requested(self) -> bool:
        """Whether it was."""
        ...


class StopRequest:
    """Context in which signals set `requested` instead of ending the process.

    In a thread other than the main one it catches none, and `requested` stays False.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
