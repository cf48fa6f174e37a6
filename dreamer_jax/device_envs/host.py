"""A device environment behind the host's interface, for `check` and as the slow twin.

One compiled call per step: a few hundred times dearer than a step inside the compiled loop, and the
same records, because both start an episode from the key of the same seed.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from dreamer_jax.device.trees import name_arrays, restore_arrays
from dreamer_jax.device_envs.protocol import DeviceEnv, State
from dreamer_jax.device_envs.vector import check_types, episode_key
from dreamer_jax.types import Record


class HostEnv:
    """Steps one device environment; see `envs.spec.Env` and `Snapshots`.

    Args:
        env: The environment.

    Raises:
        UserError: If its records or states change their types between reset and step.
    """

    def __init__(self, env: DeviceEnv) -> None:
        check_types(env)
        self.device_env = env
        self.spaces, self.repeat = env.spaces, env.repeat
        self._state: State = None

    def reset(self, seed: int) -> Record:
        """Start the episode that `seed` determines and return its first record."""
        return self._receive(*_reset(self.device_env, np.uint32(seed)))

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Apply one action."""
        spaces = self.spaces.action
        given = {key: np.asarray(action[key], space.dtype) for key, space in spaces.items()}
        return self._receive(*_step(self.device_env, self._state, given))

    def render(self) -> np.ndarray | None:
        """Return a picture of the present state, or None."""
        return self.device_env.render(self._state)

    def snapshot(self) -> bytes:
        """Return the whole state of the open episode."""
        file = io.BytesIO()
        arrays: dict[str, Any] = name_arrays(self._state, "state/")
        np.savez(file, **arrays)
        return file.getvalue()

    def restore(self, state: bytes) -> None:
        """Continue from a state that `snapshot` returned."""
        shapes, _ = jax.eval_shape(partial(_reset, self.device_env), np.uint32(0))
        with np.load(io.BytesIO(state), allow_pickle=False) as arrays:
            self._state = restore_arrays(shapes, dict(arrays), "state/")

    def close(self) -> None:
        """Do nothing: arrays are released with the object."""

    def _receive(self, state: State, record: dict[str, jax.Array]) -> Record:
        self._state = state
        values = {key: np.asarray(value) for key, value in record.items()}
        reported = lambda key: not (key.startswith("log/") and np.isnan(values[key]))
        return {key: value for key, value in values.items() if reported(key)}


# Compiled once for all environments that are equal, however many instances there are.
@partial(jax.jit, static_argnums=0)
def _reset(env: DeviceEnv, seed: Any) -> Any:
    return env.reset(episode_key(seed))


@partial(jax.jit, static_argnums=0)
def _step(env: DeviceEnv, state: State, action: dict[str, Any]) -> Any:
    return env.step(state, action)
