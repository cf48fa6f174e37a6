"""Acting and stepping in one compiled loop, for environments written in JAX.

    policy → store → step, K times over; the order of `runtime/driver.py`

One loop does K vector steps with one set of acting parameters, so nothing crosses to the host in
between. Invariant: the policy's key is that of the number of the call, as on the host, so that how
the vector steps are cut into loops changes no number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_jax.device.compiled import Compiled
from dreamer_jax.device.trees import name_arrays, restore_arrays
from dreamer_jax.device_envs.vector import DeviceVectorEnv
from dreamer_jax.masks import widen
from dreamer_jax.types import SIGNALS, Carry, Columns

Flags = dict[str, jax.Array]  # [K, E] by key


class Progress(NamedTuple):
    """What one loop leaves to the next; stays on the device."""

    states: Any  # [E, ...] of the environments
    records: dict[str, jax.Array]  # [E, ...] newest records, not acted on yet
    carry: Carry  # [E, ...] of the policy


class Acted(NamedTuple):
    """What replay stores of K vector steps."""

    records: dict[str, Any]  # [K, E, ...]
    actions: dict[str, Any]  # [K, E, ...] chosen after them; zeros where the episode is over
    latents: Columns  # [K, E, ...] packed


class Rolled(NamedTuple):
    """Results of one loop; all but `progress` on the host."""

    progress: Progress
    acted: Acted | None  # None if the loop does not store
    outcomes: dict[str, np.ndarray]  # [K, E] signals and logs of the records that actions led to
    invalid: dict[str, np.ndarray]  # [K, E] by key, whether such a record breaks its limits
    resets: np.ndarray  # [E] episodes begun, each with the next of its row of seeds


class Rollout:
    """The compiled loop.

    Args:
        compiled: Supplies the policy and its keys.
        envs: Stepped; `envs.steps` is K.
        mode: Of the policy, `train` or `eval`.
        role: Stream of keys that the policy draws from.
        store: Whether to return what replay stores.
    """

    def __init__(
        self, compiled: Compiled, envs: DeviceVectorEnv, *, mode: str, role: str, store: bool
    ) -> None:
        self._agent, self._envs, self._mode, self._store = compiled.agent, envs, mode, store
        self._key = compiled.key(role)
        self._begin, self._loop = jax.jit(self._first), jax.jit(self._roll)

    def begin(self, seeds: np.ndarray) -> Progress:
        """Start the first episodes from `seeds [E]`."""
        return self._begin(seeds)

    def __call__(self, params: Any, progress: Progress, seeds: np.ndarray, calls: int) -> Rolled:
        """Do K vector steps.

        Args:
            params: From `Compiled.acting` or an `Update`.
            progress: From `begin` or the previous loop.
            seeds: `[E, K]` of the next episodes of each environment.
            calls: Vector steps done before; determines the randomness of the policy.
        """
        start = np.uint32(calls & 0xFFFFFFFF)  # counts beyond 2³² begin anew
        progress, resets, *seen = self._loop(params, progress, seeds, self._key, start)
        # One transfer: every copy is under way before the first one is waited for.
        acted, outcomes, invalid, resets = jax.device_get((*seen, resets))
        return Rolled(progress, acted, outcomes, invalid, resets)

    def name_arrays(self, progress: Progress) -> dict[str, np.ndarray]:
        """Return host copies of everything in `progress`, by name, for a checkpoint."""
        return name_arrays(progress._asdict(), "policy_loop/")

    def restore(self, arrays: Mapping[str, np.ndarray]) -> Progress:
        """Return the progress that `name_arrays` named."""
        seeds = jax.ShapeDtypeStruct((self._envs.number,), np.uint32)
        shapes = jax.eval_shape(self._first, seeds)
        return Progress(**restore_arrays(shapes._asdict(), arrays, "policy_loop/"))

    def _first(self, seeds: jax.Array) -> Progress:
        return Progress(
            *self._envs.reset(seeds), self._agent.initial_acting_carry(self._envs.number)
        )

    def _roll(
        self, params: Any, progress: Progress, seeds: jax.Array, key: jax.Array, start: jax.Array
    ) -> tuple[Progress, jax.Array, Acted | None, Flags, Flags]:
        everyone = jnp.arange(self._envs.number)

        def step(loop: tuple[Progress, jax.Array], call: jax.Array) -> Any:
            (states, records, carry), resets = loop
            obs = {name: records[name] for name in self._envs.spaces.obs}
            call_key = jax.random.fold_in(key, call)
            carry, chosen, latents = self._agent.policy(
                params, carry, obs, records["is_first"], call_key, self._mode
            )
            ended = records["is_last"]
            actions = {name: _zero_where(ended, value) for name, value in chosen.items()}
            states, new = self._envs.step(states, ended, actions, seeds[everyone, resets])
            outcomes = {k: v for k, v in new.items() if k in SIGNALS or k.startswith("log/")}
            acted = Acted(records, actions, latents) if self._store else None
            seen = acted, outcomes, self._envs.invalid(new)
            return (Progress(states, new, carry), resets + ended), seen

        resets = jnp.zeros(self._envs.number, jnp.int32)
        calls = start + jnp.arange(self._envs.steps, dtype=jnp.uint32)
        (progress, resets), seen = jax.lax.scan(step, (progress, resets), calls)
        return progress, resets, *seen


def _zero_where(ended: jax.Array, value: jax.Array) -> jax.Array:
    return jnp.where(widen(ended, value), jnp.zeros((), value.dtype), value)
