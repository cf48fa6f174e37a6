"""`testing:counting` tells where in time it stands, to prove alignment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dreamer_jax.envs.spec import signals
from dreamer_jax.errors import UserError
from dreamer_jax.types import Record, Space, Spaces

_INT, _FLOAT = np.dtype(np.int32), np.dtype(np.float32)


class Counting:
    """Tells in every record where in time it stands and what led to it.

    `index` is the step within the episode, `seed` the episode's seed as high and low 16 bits, both
    exact. The reward of record t is `t·actions + a[t−1]`, so it names its own index and the
    action before it.

    Args:
        length: Index of the last record.
        actions: Number of actions.
        ending: "terminal", "truncated", or "both" for terminal ends of odd seeds only.
    """

    repeat = 1

    def __init__(self, length: int = 5, actions: int = 3, ending: str = "both") -> None:
        if ending not in ("terminal", "truncated", "both"):
            raise UserError(f"ending is {ending!r}; choose terminal, truncated or both")
        self._length, self._actions, self._ending = length, actions, ending
        self._seed, self._index = 0, 0
        self.spaces = Spaces(
            {"index": Space(_INT, (), length + 1), "seed": Space(_FLOAT, (2,))},
            {"action": Space(_INT, (), actions)},
        )

    def reset(self, seed: int) -> Record:
        """Start the episode named `seed`."""
        self._seed, self._index = seed, 0
        return self._record(signals(is_first=True))

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Count one step."""
        if self._index >= self._length:
            raise RuntimeError("step after is_last; only reset may be called")
        self._index += 1
        last = self._index == self._length
        terminal = self._ending == "terminal" or (self._ending == "both" and self._seed % 2 == 1)
        reward = self._index * self._actions + int(action["action"])
        return self._record(signals(reward, is_last=last, is_terminal=last and terminal))

    def render(self) -> np.ndarray | None:
        """Return None: there is nothing to see."""
        return None

    def close(self) -> None:
        """Do nothing."""

    def _record(self, record: dict[str, Any]) -> Record:
        record["index"] = np.int32(self._index)
        record["seed"] = np.array(divmod(self._seed, 1 << 16), np.float32)
        return record
