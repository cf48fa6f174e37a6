"""One attempt at one run: its process, its output, and how it ended, in the run's directory.

    output.log     what every attempt printed
    attempt.json   of the latest attempt: when, where, and its exit code once it is over

All backends use this, on whatever machine they reach, so a sweep's state lies in its directories
alone and outlives the command that started it. A record without an exit code is an attempt that is
under way, or one that died with its machine.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dreamer_jax.__main__ import RESUMABLE
from dreamer_jax.files import replacing
from experiments.sweep.plan import Run

# A run that is told to end before it listens for signals is as resumable as one that checkpointed.
STOPPED = (RESUMABLE, -signal.SIGTERM, -signal.SIGINT)


class Record(NamedTuple):
    """What is known of the latest attempt."""

    attempts: int  # begun so far
    steps: int  # policy steps that the run was configured for
    exit_code: int | None  # None: under way, or lost with its machine
    host: str


def read_record(logdir: Path) -> Record | None:
    """Return the record of the latest attempt, None if there was none."""
    try:
        return Record(**json.loads((logdir / "attempt.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def write_record(logdir: Path, record: Record) -> None:
    """Replace the record."""
    with replacing(logdir / "attempt.json") as temp:
        temp.write_text(json.dumps(record._asdict()), encoding="utf-8")


class Attempt:
    """The process of one attempt; starts with the object.

    Args:
        run: What to run, in the present directory.
        environment: Variables to set for it.
        cores: It may use these only; all if empty.
    """

    def __init__(
        self,
        run: Run,
        environment: Mapping[str, str] | None = None,
        cores: Sequence[int] = (),
    ) -> None:
        self._logdir = run.logdir
        self._logdir.mkdir(parents=True, exist_ok=True)
        before = read_record(self._logdir)
        number = before.attempts + 1 if before else 1
        self._record = Record(number, run.steps, None, socket.gethostname())
        write_record(self._logdir, self._record)
        command = [sys.executable, *run.arguments]
        with (self._logdir / "output.log").open("a", encoding="utf-8") as output:
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            output.write(f"--- attempt {number}, {now}, {self._record.host}\n")
            output.flush()
            # A session of its own: Ctrl-C on a terminal reaches the sweep, which then asks kindly.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
                start_new_session=True,
            )
        if cores:
            os.sched_setaffinity(self._process.pid, cores)

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or None while it runs."""
        return self._ended(self._process.poll())

    def wait(self) -> int:
        """Wait for the end and return the exit code."""
        code = self._ended(self._process.wait())
        assert code is not None
        return code

    def stop(self) -> None:
        """Ask the run to checkpoint and end."""
        self._process.terminate()

    def kill(self) -> None:
        """End the run at once. Its record stays open, so that it is continued like a lost one."""
        self._process.kill()
        self._process.wait()

    def _ended(self, code: int | None) -> int | None:
        if code is not None and self._record.exit_code is None:
            self._record = self._record._replace(exit_code=code)
            write_record(self._logdir, self._record)
        return code


def last_lines(logdir: Path, number: int) -> list[str]:
    """Return the last lines that the latest attempt printed, without empty ones."""
    try:
        text = tail(logdir / "output.log", 1 << 16)
    except FileNotFoundError:
        return []
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    starts = [i for i, line in enumerate(lines) if line.startswith("--- attempt ")]
    return lines[starts[-1] + 1 if starts else 0 :][-number:]


def tail(path: Path, size: int) -> str:
    """Return the end of a file, at most `size` bytes of it."""
    with path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - size))
        return file.read().decode("utf-8", "replace")


def json_lines(text: str) -> list[dict[str, Any]]:
    """Return the whole JSON lines of a text that may begin and end within a line."""
    rows = []
    for line in text.splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows
