"""A run that somebody else runs: a process whose sweep died, or one started by hand.

Its directory is locked. How it ends is not told here, so it counts as stopped: the next attempt
continues it, or finds that nothing is left to do.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import socket
from pathlib import Path


def is_locked(logdir: Path) -> bool:
    """Return whether a process, of any machine, holds the run directory."""
    lock = logdir / ".lock"
    if not lock.exists():
        return False
    with lock.open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class Orphan:
    """Stands for that process; see `backend.Job`."""

    def __init__(self, logdir: Path) -> None:
        self._logdir = logdir

    def over(self) -> bool:
        """See `backend.Job`."""
        return not is_locked(self._logdir)

    def stop(self) -> None:
        """See `backend.Job`; a run of another machine is left alone."""
        holder = re.match(r"pid (\d+) on (.*)", (self._logdir / ".lock").read_text("utf-8"))
        if holder and holder[2] == socket.gethostname():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(holder[1]), signal.SIGTERM)
