"""What the processes of a run decide alike: steps done, updates due, when to save and to stop.

Environments reset at their own times, so each process counts its own policy steps; only the sum
says what is due. Between two meetings a process knows that every vector step can have added one
step per environment at most, and all know the same bound. They meet when the bound says that
something may be due, which is when an update is about to start and the device is idle anyway.
So decisions are exact, those of one process that had all environments, and the device never
waits for a count. A single process is in agreement with itself at every step, free of charge.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Exchange = Callable[..., np.ndarray]  # numbers of this process -> [processes, numbers]
MOST_APART = 64  # vector steps between two meetings, so that a request to stop is heard


class Agreement:
    """Exact as of the last meeting.

    Args:
        exchange: `Compiled.exchange`.
        processes: How many.
        envs: Environments of all processes.
        steps: Policy steps at which the run ends.
    """

    def __init__(self, exchange: Exchange, processes: int, envs: int, steps: int) -> None:
        self.policy_steps = 0  # of all processes
        self.can_sample = False  # every process has enough to train on
        self.stop = False  # one was asked to stop
        self.save = False  # one says that it is time to
        self._exchange, self._processes = exchange, processes
        self._envs, self._end = envs, steps
        self._apart = 0

    def meet(self, own_steps: int, can_sample: bool, stop: bool, save: bool) -> None:
        """Take over what all processes say; each must call this after the same vector step."""
        said = (own_steps, int(can_sample), int(stop), int(save))
        if self._processes > 1:
            steps, ready, stops, saves = self._exchange(*said).T
            said = int(steps.sum()), int(ready.min()), int(stops.max()), int(saves.max())
        self.policy_steps = said[0]
        self.can_sample, self.stop, self.save = (bool(value) for value in said[1:])
        self._apart = 0

    def is_due(self, owes: Callable[[int], bool]) -> bool:
        """Count a vector step; return whether to meet after it, the same on every process.

        Args:
            owes: Whether updates would be due at a number of policy steps.
        """
        self._apart += 1
        bound = self.policy_steps + self._apart * self._envs
        return (
            self._processes == 1
            or not self.can_sample
            or bound >= self._end
            or self._apart >= MOST_APART
            or owes(bound)
        )
