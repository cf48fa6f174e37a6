"""What an environment is: the one contract behind every suite, wrapper and worker.

A record (docs/algorithm.md 1) is a dict of NumPy values: every key of `spaces.obs`, the signals
`reward` (float32), `is_first`, `is_last`, `is_terminal` (bool), and optional `log/...` scalars that
are recorded but never trained on. `reset` returns the record with `is_first` set and reward 0;
`step` returns the record that the action led to. `is_terminal` is a true end only; `is_last` is any
end, a time limit included. After a record with `is_last` only `reset` may be called. What `reset`
or `step` raises ends the episode: the object is closed and another one built (`faults.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from dreamer_jax.types import Record, Spaces


@runtime_checkable
class Env(Protocol):
    """One environment, stepped by one caller."""

    spaces: Spaces
    repeat: int
    """Simulator steps per `step` call, so that `env_steps = repeat · policy_steps`."""

    def reset(self, seed: int) -> Record:
        """Start the episode that `seed` determines (0 ≤ seed < 2³¹) and return its first record."""
        ...

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Apply one action: class indices of discrete keys, [−1, 1] for continuous keys."""
        ...

    def render(self) -> np.ndarray | None:
        """Return a uint8 picture `[height, width, 3]` of the present state, or None."""
        ...

    def close(self) -> None:
        """Release simulator and rendering resources; a second call does nothing."""
        ...


class Snapshots(Protocol):
    """An environment whose simulator state can be saved and put back exactly."""

    def snapshot(self) -> bytes:
        """Return the whole state of the open episode."""
        ...

    def restore(self, state: bytes) -> None:
        """Continue from a state that `snapshot` returned."""
        ...


class Notes(Protocol):
    """An environment whose adapter has decided something that a person should know."""

    notes: list[str]
    """Lines that `check` prints."""


def signals(
    reward: float = 0.0, is_first: bool = False, is_last: bool = False, is_terminal: bool = False
) -> dict[str, Any]:
    """Return the signal keys of a record with their contract dtypes."""
    return {
        "reward": np.float32(reward),
        "is_first": np.bool_(is_first),
        "is_last": np.bool_(is_last),
        "is_terminal": np.bool_(is_terminal),
    }
