"""The lock that keeps a second run out of a directory: an advisory lock on `<logdir>/.lock`.

The operating system drops the lock when the process ends, however it ends, so a lock file that is
left behind is no obstacle. The lock file is never deleted: otherwise two runs could hold two files
of this name.
"""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import Self

from dreamer_jax.errors import UserError


class RunLock:
    """The lock of a directory, held until `release`, the end of a `with` block, or of the process.

    Args:
        logdir: Directory of the run; made if it is missing.

    Raises:
        UserError: If another run holds the directory, or the directory cannot be made or written.
    """

    def __init__(self, logdir: Path) -> None:
        try:
            logdir.mkdir(parents=True, exist_ok=True)
            self._file = open(logdir / ".lock", "a+", encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot use {logdir} as a run directory: {error}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise UserError(
                f"{logdir} is in use by another run ({holder}); "
                "wait for it, stop it, or choose another --logdir"
            ) from None
        self._file.truncate(0)
        self._file.write(f"pid {os.getpid()} on {socket.gethostname()}\n")
        self._file.flush()

    def release(self) -> None:
        """Let other runs in; a second call does nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
