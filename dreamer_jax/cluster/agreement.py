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

from collections.abc import Callable

import numpy as np

Exchange = Callable[..., np.ndarray]  # numbers of this process -> [processes, numbers]
MOST_APART = 64  # vector steps between two meetings, so that a request to stop is heard soon


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
