"""What all processes of a run decide alike: steps done, updates due, when to save and to stop.

Every process counts the policy steps of its own environments, which reset at their own times. The
sum of these counts says what is due, and no process knows the sum by itself. The processes
therefore meet: they exchange their counts. Between two meetings every process knows a bound: each
vector step adds at most one policy step per environment. The bound is the same on every process,
so all processes meet at the same vector step, namely when the bound says that something may be
due. An update is about to start then, and the device is idle anyway.

Decisions are therefore exact: a single process with all environments would make the same ones. The
device never waits for a count. A run of one process meets at every step, which costs nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

Exchange = Callable[..., np.ndarray]  # numbers of this process -> [processes, numbers]
MOST_APART = 64  # vector steps between two meetings, so that a request to stop is heard soon
ERRAND_SECONDS = 2.0  # between two meetings while process 0 is busy alone, for the same reason


class Agreement:
    """Counts and decisions of all processes, exact as of the last meeting.

    Args:
        exchange: `Compiled.exchange`.
        processes: Number of processes.
        envs: Number of environments in all processes together.
        steps: Policy steps at which the run ends.
    """

    def __init__(self, exchange: Exchange, processes: int, envs: int, steps: int) -> None:
        self.policy_steps = 0  # of all processes
        self.can_sample = False  # whether every process has enough to train on
        self.stop = False  # whether any process was asked to stop
        self.save = False  # whether any process says that it is time to save
        self._exchange, self._processes = exchange, processes
        self._envs, self._end = envs, steps
        self._steps_apart = 0

    def meet(self, own_steps: int, can_sample: bool, stop: bool, save: bool) -> None:
        """Exchange counts and wishes; every process must call this after the same vector step."""
        said = (own_steps, int(can_sample), int(stop), int(save))
        if self._processes > 1:
            steps, ready, stops, saves = self._exchange(*said).T
            said = int(steps.sum()), int(ready.min()), int(stops.max()), int(saves.max())
        self.policy_steps = said[0]
        self.can_sample, self.stop, self.save = (bool(value) for value in said[1:])
        self._steps_apart = 0

    def is_due(self, owes: Callable[[int], bool]) -> bool:
        """Count a vector step; return whether to meet after this step, the same on every process.

        Args:
            owes: Tells whether updates would be due after a number of policy steps.
        """
        self._steps_apart += 1
        bound = self.policy_steps + self._steps_apart * self._envs
        return (
            self._processes == 1
            or not self.can_sample
            or bound >= self._end
            or self._steps_apart >= MOST_APART
            or owes(bound)
        )


class Errand:
    """What process 0 does alone while the others wait.

    Process 0 looks at `requested` whenever it could stop, and calls `end` once; the others call
    `wait`. They meet every few seconds: a wait of hours in one collective may be taken for a fault,
    and a request to stop may reach a process that waits.

    Args:
        exchange: `Compiled.exchange`.
        processes: Number of processes; one never waits and never meets.
        asked: Whether this process was asked to stop.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        exchange: Exchange,
        processes: int,
        asked: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._exchange, self._processes, self._asked = exchange, processes, asked
        self._clock, self._next = clock, clock()
        self._heard = False  # whether another process was asked to stop

    @property
    def requested(self) -> bool:
        """Whether any process was asked to stop; of process 0."""
        if self._processes > 1 and self._clock() >= self._next:
            self._heard |= self._meet(busy=True, done=False)[2]
            self._next = self._clock() + ERRAND_SECONDS
        return self._heard or self._asked()

    def end(self, done: bool) -> None:
        """Tell the others, on process 0, whether all was done or a stop came first."""
        if self._processes > 1:
            self._meet(busy=False, done=done)

    def wait(self) -> bool:
        """Return what process 0 says at the end."""
        busy, done = True, False
        while busy:
            busy, done, _ = self._meet(busy=False, done=False)
        return done

    def _meet(self, busy: bool, done: bool) -> tuple[bool, bool, bool]:
        """Return whether process 0 is busy, whether it is done, and whether anyone was asked."""
        said = self._exchange(int(busy), int(done), int(self._asked())).max(0)
        return bool(said[0]), bool(said[1]), bool(said[2])
