"""E device environments as one, for a compiled loop: stacked states and automatic resets.

Invariant: the records are those of `envs/vector/vector_env.py` with the same seed and actions.
Both start episode k of environment e from the same integer, a pure function of (seed, process, e,
k); a record with `is_last` is delivered, and the step after it ignores the action and delivers a
reset record.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_jax.device_envs.protocol import DeviceEnv, Record, State
from dreamer_jax.envs.values import limits
from dreamer_jax.envs.vector.vector_env import episode_seed
from dreamer_jax.errors import UserError
from dreamer_jax.masks import widen
from dreamer_jax.types import SIGNAL_SPACES


def episode_key(seed: Any) -> jax.Array:
    """Return the key that an episode's seed stands for."""
    return jax.random.key(seed)


class DeviceVectorEnv:
    """Describes E environments; holds no state of them, so that loops can carry it.

    Args:
        env: One environment.
        number: E, how many.
        seed: Of the run, not negative.
        process: Index of the host process; its environments get other seeds.
        steps: K, vector steps of one call on the device.

    Attributes:
        spaces: Of one environment.
        repeat: Simulator steps per step.
        mode_reason: Where the environments run, in words.
        restarts: Environments built again after a failure: none, a compiled one cannot fail alone.

    Raises:
        UserError: For a bad number, or if `env` breaks the contract's types.
    """

    def __init__(
        self, env: DeviceEnv, number: int, *, seed: int, process: int = 0, steps: int = 1
    ) -> None:
        if number < 1 or seed < 0 or steps < 1:
            raise UserError(
                f"number={number}, seed={seed}, device_steps={steps}: at least 1 environment and "
                "1 step, and seed ≥ 0"
            )
        self.env, self.number, self.steps, self.restarts = env, number, steps, 0
        self.spaces, self.repeat = env.spaces, env.repeat
        self.mode_reason = f"on the device ({steps} steps a call)"
        self._seed, self._process = seed, process
        self._logs = check_types(env)
        self._limits = limits({**env.spaces.obs, **SIGNAL_SPACES})

    def episode_seeds(self, environment: int, first: int, number: int) -> list[int]:
        """Return the seeds of episodes first … first + number − 1 of an environment."""
        episodes = range(first, first + number)
        return [episode_seed(self._seed, self._process, environment, k) for k in episodes]

    def forgive_failures(self, when: Callable[[], bool]) -> None:
        """Do nothing, where the host's environments would not count failures; see `restarts`."""

    def reset(self, seeds: jax.Array) -> tuple[State, Record]:
        """Start the episodes of `seeds [E]`; return states and records `[E, ...]`."""
        states, records = jax.vmap(lambda seed: self.env.reset(episode_key(seed)))(seeds)
        return states, self._with_logs(records)

    def step(
        self, states: State, ended: jax.Array, actions: dict[str, jax.Array], seeds: jax.Array
    ) -> tuple[State, Record]:
        """Step every environment; those that ended are reset instead.

        Args:
            states: `[E, ...]`.
            ended: `[E]` `is_last` of the newest records.
            actions: `[E, *shape]` by key; rows of ended environments do not matter.
            seeds: `[E]` of the episodes to start where one ended.
        """
        states, records = jax.vmap(self.env.step)(states, actions)

        def renew(stepped: Any) -> Any:
            pick = lambda new, old: jnp.where(widen(ended, old), new, old)
            return jax.tree.map(pick, self.reset(seeds), stepped)

        # New worlds may be dear: none is made where no episode is over.
        return jax.lax.cond(
            ended.any(), renew, lambda stepped: stepped, (states, self._with_logs(records))
        )

    def invalid(self, records: Record) -> dict[str, jax.Array]:
        """Return for every key that has limits which environments `[E]` break them."""
        return {
            key: ~((records[key] < below) & (records[key] >= least)).reshape(self.number, -1).all(1)
            for key, (least, below) in self._limits.items()
        }

    def render(self, states: State, index: int) -> np.ndarray | None:
        """Return a picture of one environment."""
        return self.env.render(jax.tree.map(lambda leaf: leaf[index], states))

    def close(self) -> None:
        """Do nothing: arrays are released with whoever holds them."""

    def __enter__(self) -> DeviceVectorEnv:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _with_logs(self, records: Record) -> Record:
        """Give every record every `log/…` key: NaN where it was not reported."""
        missing = jnp.full(records["reward"].shape, math.nan, jnp.float32)
        return {**dict.fromkeys(self._logs, missing), **records}


def check_types(env: DeviceEnv) -> list[str]:
    """Compare what reset and step yield with each other and with the spaces; computes nothing.

    Returns:
        The `log/…` keys.

    Raises:
        UserError: Names the first difference.
    """
    name, spaces = type(env).__name__, env.spaces
    actions = {k: jax.ShapeDtypeStruct(s.shape, s.dtype) for k, s in spaces.action.items()}
    state, first = jax.eval_shape(lambda seed: env.reset(episode_key(seed)), jnp.uint32(0))
    after, record = jax.eval_shape(env.step, state, actions)
    if (before := _types(state)) != (later := _types(after)):
        changed = sorted(k for k in before.keys() | later.keys() if before.get(k) != later.get(k))
        raise UserError(
            f"{name}: the state differs between reset and step at {changed[0] or 'its root'} "
            f"({before.get(changed[0])} and {later.get(changed[0])}); both must return the same "
            "structure, shapes and dtypes"
        )
    wanted = spaces.obs | SIGNAL_SPACES
    expected = {key: f"{space.dtype}{list(space.shape)}" for key, space in wanted.items()}
    logs = sorted(key for key in {*first, *record} if key.startswith("log/"))
    for method, given in (("reset", first), ("step", record)):
        found = {f"{key}": f"{leaf.dtype}{list(leaf.shape)}" for key, leaf in given.items()}
        promised = expected | {key: "float32[]" for key in logs if key in found}
        for key in sorted(found.keys() | promised.keys()):
            if found.get(key) != promised.get(key):
                raise UserError(
                    f"{name}.{method}: {key!r} of its record is {found.get(key, 'missing')}; "
                    f"the contract says {promised.get(key, 'there is no such key')}"
                )
    return logs


def _types(tree: Any) -> dict[str, str]:
    """Return dtype and shape of every leaf by path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}
