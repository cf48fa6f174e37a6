"""A profiler trace of a few updates, for TensorBoard, Perfetto or XProf, at the user's request.

The window is given in updates, so that it can lie after compilation; acting and stepping between
them are in the trace as well. The trace ends when the device has finished the last of them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dreamer_jax.device.compiled import start_trace, stop_trace


class Tracing:
    """Traces the updates `first` to `first + count − 1` of a run.

    Args:
        directory: Gets the trace.
        first: Updates done before the traced ones.
        count: How many; 0: none.
        say: Receives where the trace is.
    """

    def __init__(self, directory: Path, first: int, count: int, say: Callable[[str], None]) -> None:
        self._directory, self._say = directory, say
        self._first, self._stop = first, first + count
        self._running = False

    def before_update(self, grad_steps: int) -> None:
        """Start the trace if the update about to be done is in the window."""
        if not self._running and self._first <= grad_steps < self._stop:
            start_trace(self._directory)
            self._running = True

    def after_update(self, grad_steps: int, results: Any) -> None:
        """End the trace after the last update of the window.

        Args:
            grad_steps: Updates done.
            results: Arrays of the last one; waited for.
        """
        if self._running and grad_steps >= self._stop:
            self.close(results)

    def close(self, results: Any = None) -> None:
        """End a trace that is under way, because the run ends."""
        if self._running:
            stop_trace(results)
            self._running = False
            self._say(f"profiler trace: {self._directory}")
