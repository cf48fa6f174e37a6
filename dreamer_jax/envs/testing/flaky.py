"""`testing:flaky` fails in every way there is, to prove that a run survives it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping

import numpy as np

from dreamer_jax.envs.testing.counting import Counting
from dreamer_jax.errors import UserError
from dreamer_jax.types import Record

_FAULTS = ("raise", "exit", "die", "kill", "hang", "nan", "infinite")


class Flaky(Counting):
    """Counts, but fails at index 2 of every episode whose seed is a multiple of `every`.

    Args:
        fault: "raise" an error; "exit" by `sys.exit`; "die" of the signal SIGSEGV, "kill" of
            SIGKILL; "hang" for ever; "nan" in the observation and "infinite" reward make a record
            that must not be used.
        every: One episode in so many fails.
        length: Index of the last record.
    """

    def __init__(self, fault: str = "raise", every: int = 3, length: int = 5) -> None:
        super().__init__(length)
        if fault not in _FAULTS:
            raise UserError(f"fault is {fault!r}; choose one of {', '.join(_FAULTS)}")
        self._fault, self._every = fault, every

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Count one step, or fail."""
        record = super().step(action)
        if self._index != 2 or self._seed % self._every:
            return record
        if self._fault == "raise":
            raise ZeroDivisionError("the simulator broke")
        if self._fault == "exit":
            sys.exit("the simulator left")
        if self._fault == "hang":
            threading.Event().wait()
        if self._fault in ("die", "kill"):
            os.kill(os.getpid(), signal.SIGSEGV if self._fault == "die" else signal.SIGKILL)
        key = "seed" if self._fault == "nan" else "reward"
        record[key] = np.full_like(record[key], np.nan if key == "seed" else np.inf)
        return record
