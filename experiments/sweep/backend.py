"""What runs attempts: the one interface behind processes, Slurm, Ray and whatever comes next."""

from __future__ import annotations

from typing import Protocol

from experiments.sweep.plan import Run


class Job(Protocol):
    """One submitted attempt."""

    def over(self) -> bool:
        """Return whether it neither waits nor runs; how it ended is in the run's record."""
        ...

    def stop(self) -> None:
        """Ask it to checkpoint and end, or take it out of the queue; does not wait."""
        ...


class Backend(Protocol):
    """Where runs are run."""

    slots: int
    """How many jobs it takes at once."""

    poll_seconds: float
    """What asking for the state of all jobs is worth."""

    def submit(self, run: Run) -> Job:
        """Start an attempt, or queue it."""
        ...

    def adopt(self, run: Run) -> Job | None:
        """Return the job that an earlier command left with this run, if it is still to end."""
        ...

    def close(self) -> None:
        """Release what the backend holds, at once; jobs that outlive this process stay."""
        ...
