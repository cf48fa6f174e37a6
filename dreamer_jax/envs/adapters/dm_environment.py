"""Any `dm_env.Environment` as an `Env`: DeepMind's interface, of which dm_control is one suite.

A last step with discount 0 is a true end; any other last step is a truncation. dm_env knows no
seeds: an environment is reseeded through its `RandomState`, where it shows one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import dm_env
import numpy as np
from dm_env import specs

from dreamer_jax.envs.adapters.actions import action_range, missing_bounds
from dreamer_jax.envs.adapters.observations import at, class_leaf, observation_leaf
from dreamer_jax.envs.adapters.returned import reward_of
from dreamer_jax.envs.adapters.wrappers import check_count
from dreamer_jax.envs.spec import signals
from dreamer_jax.errors import UserError
from dreamer_jax.types import Record, Space, Spaces

_MOST_CHOICES = 256  # of one integer, to be classes


class _Observed(NamedTuple):
    name: str
    path: tuple[Any, ...]
    convert: Callable[[Any], np.ndarray]


class _Acted(NamedTuple):
    name: str
    space: Space
    to_environment: Callable[[np.ndarray], np.ndarray]
    notes: Sequence[str] = ()


class DmEnvironment:
    """Adapter of a `dm_env.Environment` instance to the contract in `spec.py`."""

    def __init__(self, environment: dm_env.Environment, *, repeat: int = 1) -> None:
        """Adapt `environment`, which is closed with this object.

        Args:
            environment: To be adapted.
            repeat: Times each action is applied, until the episode ends; rewards are summed.

        Raises:
            UserError: For specs that a record or an action cannot hold.
        """
        check_count("repeat", repeat)
        self.repeat = repeat
        self._environment = environment
        self._observed: list[_Observed] = []
        obs: dict[str, Space] = {}
        for path, spec in _flat(environment.observation_spec()):
            name = "/".join(map(str, path)) or "vector"
            leaf = _leaf(name, spec)
            if not path and leaf.space.is_image:
                name = "image"
            self._observed.append(_Observed(name, path, leaf.convert))
            obs[name] = leaf.space
        self._acted = [_acted(path, spec) for path, spec in _flat(environment.action_spec())]
        self.notes = [note for key in self._acted for note in key.notes]
        self._single = not isinstance(environment.action_spec(), Mapping | list | tuple)
        self.spaces = Spaces(obs, {key.name: key.space for key in self._acted})

    def reset(self, seed: int) -> Record:
        """Start an episode, the one that `seed` determines if the environment can be reseeded."""
        self._reseed(seed)
        return self._record(self._environment.reset(), signals(is_first=True))

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Apply one action `repeat` times."""
        values = [key.to_environment(action[key.name]) for key in self._acted]
        value: Any = values[0] if self._single else self._structure(values)
        reward = 0.0
        for _ in range(self.repeat):
            timestep = self._environment.step(value)
            reward += 0.0 if timestep.reward is None else reward_of(timestep.reward)
            if timestep.last():
                break
        last = timestep.last()
        flags = signals(reward, is_last=last, is_terminal=last and timestep.discount == 0)
        return self._record(timestep, flags)

    def render(self) -> np.ndarray | None:
        """Return None: dm_env has no pictures."""
        return None

    def close(self) -> None:
        """Close the environment."""
        self._environment.close()

    def _reseed(self, seed: int) -> None:
        environment: Any = self._environment
        task = getattr(environment, "task", None)
        for random in (getattr(task, "random", None), getattr(environment, "random_state", None)):
            if isinstance(random, np.random.RandomState):
                random.seed(seed)
                return

    def _structure(self, values: list[np.ndarray]) -> Any:
        spec = self._environment.action_spec()
        return (
            dict(zip(spec, values, strict=True))
            if isinstance(spec, Mapping)
            else type(spec)(values)
        )

    def _record(self, timestep: dm_env.TimeStep, record: dict[str, Any]) -> Record:
        for name, path, convert in self._observed:
            if (value := at(timestep.observation, path)) is not None:
                record[name] = convert(value)
        return record


def _flat(spec: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], specs.Array]]:
    if isinstance(spec, Mapping):
        return [leaf for key, part in spec.items() for leaf in _flat(part, (*path, key))]
    if isinstance(spec, list | tuple):
        return [leaf for i, part in enumerate(spec) for leaf in _flat(part, (*path, i))]
    return [(path, spec)]


def _leaf(name: str, spec: specs.Array) -> Any:
    if isinstance(spec, specs.DiscreteArray):
        return class_leaf(name, (), spec.num_values)
    low, high = getattr(spec, "minimum", -np.inf), getattr(spec, "maximum", np.inf)
    return observation_leaf(name, spec.dtype, spec.shape, low, high)


def _acted(path: tuple[Any, ...], spec: specs.Array) -> _Acted:
    name = "/".join(map(str, path)) or "action"
    dtype = spec.dtype
    if len(path) > 1:
        raise UserError(f"action {name!r} is nested; flatten the action spec to one level")
    if isinstance(spec, specs.DiscreteArray):
        space = Space(np.dtype(np.int32), (), spec.num_values)
        return _Acted(name, space, lambda action: np.asarray(action, dtype))
    if np.issubdtype(dtype, np.floating):
        low, high = getattr(spec, "minimum", -np.inf), getattr(spec, "maximum", np.inf)
        shape = np.broadcast_shapes(spec.shape, np.shape(low))
        space = Space(np.dtype(np.float32), shape)
        convert = action_range(np.asarray(low), np.asarray(high), dtype)
        return _Acted(name, space, convert, missing_bounds(name, low, high))
    low, high = (np.unique(getattr(spec, bound, [])) for bound in ("minimum", "maximum"))
    if dtype.kind in "iu" and len(low) == len(high) == 1 and high[0] - low[0] < _MOST_CHOICES:
        space = Space(np.dtype(np.int32), spec.shape, int(high[0] - low[0]) + 1)
        return _Acted(name, space, lambda action: (np.asarray(action) + low[0]).astype(dtype))
    raise UserError(
        f"action {name!r} is {spec!r}; use float, DiscreteArray, or integers with one minimum and "
        f"one maximum less than {_MOST_CHOICES} apart"
    )
