"""Runs as Slurm jobs, submitted through submitit (extra `sweep`).

A job outlives this command: its number lies in the run's directory (`slurm_job`), and the same
command finds it again. Before its time limit Slurm signals a job, which then lets its run
checkpoint and queues itself again; `scancel` alone makes it checkpoint too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from dreamer_jax.errors import UserError
from experiments.sweep.attempt import Attempt
from experiments.sweep.backend import Job
from experiments.sweep.plan import Run

_MINUTES = 24 * 60  # submitit's own limit of five minutes suits no training
_POLL_SECONDS = 10.0


class SlurmBackend:
    """See `backend.Backend`.

    Args:
        out: Directory of the sweep, on a file system that all nodes see.
        number: Jobs queued or running at once; 0 for all.
        resources: Parameters of submitit, such as `timeout_min`, `cpus_per_task`,
            `gpus_per_node`, `mem_gb`, `slurm_partition`.

    Raises:
        UserError: If submitit or Slurm is missing, or a resource is unknown to it.
    """

    poll_seconds = _POLL_SECONDS

    def __init__(self, out: Path, number: int, resources: Mapping[str, Any]) -> None:
        try:
            import submitit
        except ImportError as error:
            raise UserError(
                "the Slurm backend needs submitit: pip install 'dreamer-jax[sweep]'"
            ) from error
        self.slots = number or sys.maxsize
        try:
            self._executor = submitit.AutoExecutor(out / ".slurm", cluster="slurm")
            parameters = {"name": out.name, "timeout_min": _MINUTES, **resources}
            self._executor.update_parameters(**parameters)
        except (RuntimeError, NameError, TypeError) as error:
            raise UserError(f"Slurm cannot be used: {error}") from error
        self._queue = Queue()

    def submit(self, run: Run) -> Job:
        """Queue a job."""
        number = self._executor.submit(SlurmAttempt(run)).job_id
        run.logdir.mkdir(parents=True, exist_ok=True)
        (run.logdir / "slurm_job").write_text(number)
        self._queue.refresh()
        return SlurmJob(number, self._queue)

    def adopt(self, run: Run) -> Job | None:
        """Return the job of an earlier command, if it is still queued or running."""
        noted = run.logdir / "slurm_job"
        job = SlurmJob(noted.read_text(), self._queue) if noted.exists() else None
        return None if job is None or job.over() else job

    def close(self) -> None:
        """Leave the jobs to Slurm."""


class SlurmJob:
    """One job, by its number."""

    def __init__(self, number: str, queue: Queue) -> None:
        self._number, self._queue = number, queue

    def over(self) -> bool:
        """See `backend.Job`."""
        return self._number not in self._queue.numbers()

    def stop(self) -> None:
        """See `backend.Job`."""
        for option in ("--state=PENDING", "--signal=TERM"):
            subprocess.run(["scancel", option, self._number], capture_output=True, check=False)


class Queue:
    """The numbers of this user's jobs; asked of Slurm once for all of them, and not too often."""

    def __init__(self) -> None:
        self._numbers: frozenset[str] = frozenset()
        self.refresh()

    def refresh(self) -> None:
        """Ask anew; keeps the last answer while the controller does not answer."""
        command = ["squeue", "--me", "--noheader", "--format=%A"]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        if found.returncode == 0:
            self._numbers = frozenset(found.stdout.split())
        self._at = time.monotonic()

    def numbers(self) -> frozenset[str]:
        """Return them as of a few seconds ago at most."""
        if time.monotonic() - self._at > _POLL_SECONDS / 2:
            self.refresh()
        return self._numbers


class SlurmAttempt:
    """What a job runs on its node; submitit calls it, and `checkpoint` before the time limit."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._attempt: Attempt | None = None

    def __call__(self) -> int:
        """Make one attempt and return its exit code."""
        # Slurm sends the warning to all processes of the job; the run would die of it.
        warning = signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]
        handler = signal.signal(warning, signal.SIG_IGN)
        self._attempt = Attempt(self._run)
        signal.signal(warning, handler)
        signal.signal(signal.SIGTERM, self._stop)
        return self._wait()

    def checkpoint(self) -> Any:
        """Let the run checkpoint, and return what shall be queued again."""
        from submitit.helpers import DelayedSubmission

        self._stop()
        self._wait()
        return DelayedSubmission(SlurmAttempt(self._run))

    def _stop(self, number: int = 0, frame: FrameType | None = None) -> None:  # noqa: ARG002
        if self._attempt is not None:
            self._attempt.stop()

    def _wait(self) -> int:
        # Not `Popen.wait`: it would hold a lock that the signal's handler needs as well.
        while self._attempt is not None:
            if (code := self._attempt.poll()) is not None:
                return code
            time.sleep(0.5)
        return 0
