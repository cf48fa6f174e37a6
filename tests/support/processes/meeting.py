"""Processes that meet, as threads: what each tells reaches all, in the order of the processes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np


class Meeting:
    """Threads that tell each other something, all at the same time."""

    def __init__(self, count: int) -> None:
        self._said: list[Any] = [None] * count
        self._barrier = threading.Barrier(count, timeout=30)

    def share(self, index: int) -> Callable[[Any], list[Any]]:
        def share(told: Any) -> list[Any]:
            self._said[index] = told
            self._barrier.wait()
            heard = list(self._said)
            self._barrier.wait()
            return heard

        return share

    def exchange(self, index: int) -> Callable[..., Any]:
        share = self.share(index)
        return lambda *numbers: np.array(share(numbers))


def together(function: Callable[[int, Meeting], Any], count: int) -> list[Any]:
    """Return what all processes come to."""
    meeting = Meeting(count)
    with ThreadPoolExecutor(count) as pool:
        calls = [pool.submit(function, index, meeting) for index in range(count)]
        return [call.result() for call in calls]
