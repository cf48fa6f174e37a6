"""What an environment written in JAX is: pure functions of one environment's state.

The device twin of `envs/spec.py`: the same records (docs/algorithm.md 1), but as JAX arrays and
without batch axis; `vector.py` maps them over many environments and starts new episodes. Nothing
here may depend on the values of arrays in Python, so that acting and stepping fit into one compiled
loop.
"""

from __future__ import annotations

import abc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_jax.types import Spaces

State = Any  # a pytree of arrays, typed keys included; the same structure from reset and step
Record = dict[str, jax.Array]


class DeviceEnv(abc.ABC):
    """One environment, written in JAX.

    Instances that are equal and hash alike (a frozen dataclass of options, say) share compiled
    programs.
    """

    repeat: int = 1
    """Simulator steps per `step`, so that `env_steps = repeat · policy_steps`."""

    @property
    @abc.abstractmethod
    def spaces(self) -> Spaces:
        """Observation and action keys."""

    @abc.abstractmethod
    def reset(self, key: jax.Array) -> tuple[State, Record]:
        """Start the episode that `key` determines; return its state and reset record.

        Args:
            key: Consumed; what the episode draws later comes from a key kept in the state.
        """

    @abc.abstractmethod
    def step(self, state: State, action: dict[str, jax.Array]) -> tuple[State, Record]:
        """Apply one action: class indices of discrete keys, continuous ones clipped to [−1, 1].

        After a record with `is_last` this is called once more and its result not used.
        A `log/…` key is a float32 scalar, NaN where there is nothing to report.
        """

    def render(self, state: State) -> np.ndarray | None:  # noqa: ARG002
        """Return a uint8 picture `[height, width, 3]` of a state, or None. Runs on the host."""
        return None


def signals(
    reward: Any = 0.0, is_first: Any = False, is_last: Any = False, is_terminal: Any = False
) -> Record:
    """Return the signal keys of a record with their contract dtypes; twin of `spec.signals`."""
    return {
        "reward": jnp.asarray(reward, jnp.float32),
        "is_first": jnp.asarray(is_first, bool),
        "is_last": jnp.asarray(is_last, bool),
        "is_terminal": jnp.asarray(is_terminal, bool),
    }
