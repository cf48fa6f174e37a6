"""Brings every run of a sweep to its end: what is submitted when, and what is submitted again.

Finished runs are left alone, stopped ones (exit 75) continued, failed ones only retried on demand.
The directories hold all state (attempt.py), so that a new command goes on where the last one,
however it ended, left off. One command at a time has a sweep: it holds a lock on its directory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from experiments.sweep.backend import Backend, Job
from experiments.sweep.orphan import Orphan, is_locked
from experiments.sweep.plan import Run
from experiments.sweep.progress import Progress, read_progress

# Stops in a row without a step done, after which another attempt is not worth its start.
MOST_IDLE_STOPS = 3


class Schedule:
    """The runs of a sweep on one backend.

    Args:
        runs: All of them.
        backend: Takes their attempts.
        retry: Whether failed runs are tried again, once each.
    """

    def __init__(self, runs: Sequence[Run], backend: Backend, retry: bool = False) -> None:
        self._backend = backend
        self._jobs: dict[Run, Job] = {}
        self._queue: deque[Run] = deque()
        self._idle: dict[Run, tuple[int, int]] = {}  # steps when it stopped, such stops in a row
        self._given_up: set[Run] = set()
        self._stopping = False
        self._progress: dict[Run, Progress] = {}
        for run in runs:
            job: Job | None = backend.adopt(run)
            if job is None and is_locked(run.logdir):
                job = Orphan(run.logdir)
            if job is not None:
                self._jobs[run] = job
            state = self._look(run).state
            if job is None and (state in ("waiting", "stopped") or (state == "failed" and retry)):
                self._queue.append(run)

    @property
    def over(self) -> bool:
        """Whether nothing runs and nothing will be started."""
        return not self._jobs and (self._stopping or not self._queue)

    def advance(self) -> bool:
        """See which jobs ended, submit what there is room for; return whether there was any."""
        changed = False
        for run, job in list(self._jobs.items()):
            if job.over():
                del self._jobs[run]
                changed = True
                found = self._look(run)
                # `waiting`: an orphan (orphan.py) that ended before its first row.
                if found.state not in ("stopped", "waiting") or self._stopping:
                    continue
                if self._stuck(run, found.policy_steps):
                    self._given_up.add(run)
                else:
                    self._queue.append(run)
        while not self._stopping and self._queue and len(self._jobs) < self._backend.slots:
            run = self._queue.popleft()
            self._jobs[run] = self._backend.submit(run)
            changed = True
        return changed

    def stop(self) -> None:
        """Ask all jobs to checkpoint and end, and submit no more."""
        if not self._stopping:
            self._stopping = True
            for job in self._jobs.values():
                job.stop()

    def states(self) -> dict[Run, Progress]:
        """Return the progress of every run; the files of finished ones are not read again."""
        for run, known in self._progress.items():
            if known.state != "finished" or run in self._jobs:
                self._look(run)
        return dict(self._progress)

    def _look(self, run: Run) -> Progress:
        """Read a run's progress, and correct what its directory cannot know."""
        found = read_progress(run)
        if run in self._given_up:
            found = found._replace(state="failed")
        elif found.state == "running" and run not in self._jobs:
            found = found._replace(state="stopped")  # it died without a word
        elif found.state != "running" and run in self._jobs:
            found = found._replace(state="waiting")  # in the backend's own queue
        self._progress[run] = found
        return found

    def _stuck(self, run: Run, steps: int) -> bool:
        before, count = self._idle.get(run, (-1, 0))
        count = count + 1 if steps == before else 1
        self._idle[run] = (steps, count)
        return count >= MOST_IDLE_STOPS
