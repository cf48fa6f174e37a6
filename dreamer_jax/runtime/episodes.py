"""Running sums of the open episodes of E environments; finished episodes of all processes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dreamer_jax.types import Record


class Episode(NamedTuple):
    """A finished episode."""

    score: float  # undiscounted sum of rewards
    length: int  # policy steps
    logs: dict[str, float]  # mean of each `log/...` key over the steps that reported it


def pool(
    share: Callable[[bytes], list[bytes]], episodes: Sequence[Episode], counts: Mapping[str, int]
) -> tuple[list[Episode], dict[str, int]]:
    """Return the finished episodes of all processes, and the sums of their counts.

    Args:
        share: `Compiled.share`; all processes must call this together.
        episodes: Finished episodes of this process.
        counts: Counts of this process, with the same keys in every process.

    Returns:
        The episodes, those of process 0 first, and the counts summed over the processes.
    """
    told = [json.loads(each) for each in share(json.dumps([episodes, counts]).encode())]
    sums = {key: sum(counted[key] for _, counted in told) for key in counts}
    return [Episode(*each) for finished, _ in told for each in finished], sums


class Tally:
    """Scores, lengths and log means of the open episodes, fed with every vector of records once.

    Args:
        number: E, the number of environments.
    """

    def __init__(self, number: int) -> None:
        self.policy_steps = 0  # decisions that led to a record; reset records not counted
        self._score = np.zeros(number)
        self._length = np.zeros(number, np.int64)
        self._logs: dict[str, np.ndarray] = {}  # [2, E] sum and count by key

    def receive(self, records: Record) -> list[tuple[int, Episode]]:
        """Add new records `[E, ...]` to the sums; return the episodes that these records end."""
        first = records["is_first"]
        self._score = np.where(first, 0.0, self._score + records["reward"])
        self._length = np.where(first, 0, self._length + 1)
        self._add_logs(records)
        self.policy_steps += int((~first).sum())
        return [(int(i), self._episode(int(i))) for i in np.flatnonzero(records["is_last"])]

    def state(self) -> dict[str, Any]:
        """Return the sums, for a checkpoint."""
        return {
            "policy_steps": self.policy_steps,
            "score": self._score,
            "length": self._length,
            "logs": {**self._logs},
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.policy_steps = state["policy_steps"]
        self._score, self._length, self._logs = state["score"], state["length"], state["logs"]

    def _add_logs(self, records: Record) -> None:
        """Sum and count the reported values; NaN marks an environment that reported none."""
        first = records["is_first"]
        for key in {*self._logs, *(key for key in records if key.startswith("log/"))}:
            held = self._logs.get(key, np.zeros((2, len(first))))
            value = records.get(key, np.full(len(first), np.nan))
            new = np.stack([np.nan_to_num(value), ~np.isnan(value)])
            self._logs[key] = np.where(first, 0.0, held + new)

    def _episode(self, index: int) -> Episode:
        sums = {key: held[:, index] for key, held in self._logs.items()}
        logs = {key: float(total / count) for key, (total, count) in sums.items() if count}
        return Episode(float(self._score[index]), int(self._length[index]), logs)
