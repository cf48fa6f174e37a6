"""Gymnasium spaces as flat record and action keys.

Nested Dict and Tuple spaces become keys joined with "/". An observation that is not a Dict is
named `image` or `vector`, a single action `action`. MultiDiscrete with equal counts is one key,
with unequal counts one scalar key per component, because a key has one number of classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from dreamer_jax.envs.adapters.actions import action_range, missing_bounds
from dreamer_jax.envs.adapters.observations import Leaf, class_leaf, flattened, observation_leaf
from dreamer_jax.errors import UserError
from dreamer_jax.types import Space

_MOST_CHOICES = 256  # of one integer of a Box, to be classes
_SUPPORTED = "Box, Discrete, MultiBinary, MultiDiscrete, Dict and Tuple"


class ObservationKey(NamedTuple):
    """One key of a record and where its value stands in the environment's observation."""

    name: str
    path: tuple[Any, ...]  # indices into nested dicts, tuples and arrays; empty for all of it
    leaf: Leaf


class ActionKeys(NamedTuple):
    """The keys of an action and how they make the environment's own action."""

    spaces: dict[str, Space]
    assemble: Callable[[Mapping[str, np.ndarray]], Any]
    notes: Sequence[str] = ()  # for `check`: bounds that are missing


def observation_keys(space: spaces.Space) -> list[ObservationKey]:
    """Flatten an observation space.

    Raises:
        UserError: For an unsupported space, or two keys of the same name.
    """
    if isinstance(space, spaces.Dict):
        keys = list(_observations(space, "", ()))
    elif isinstance(space, spaces.Tuple):
        keys = list(_observations(space, "observation", ()))
    else:
        keys = list(_observations(space, "vector", ()))
        if len(keys) == 1 and keys[0].leaf.space.is_image:
            keys = [keys[0]._replace(name="image")]
    names = [key.name for key in keys]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise UserError(f"observation keys {sorted(repeated)} appear twice; rename one of each")
    return keys


def action_keys(space: spaces.Space, name: str = "") -> ActionKeys:
    """Flatten an action space; the result's `assemble` undoes it.

    Args:
        space: Of the environment.
        name: Key or prefix of the keys; a space that is not a Dict is named `action`.

    Raises:
        UserError: For an unsupported space.
    """
    if isinstance(space, spaces.Dict):
        prefix = f"{name}/" if name else ""
        parts = {k: action_keys(s, f"{prefix}{k}") for k, s in space.items()}
        return ActionKeys(
            _merged(parts.values()),
            lambda action: {k: part.assemble(action) for k, part in parts.items()},
            [note for part in parts.values() for note in part.notes],
        )
    name = name or "action"
    match space:
        case spaces.Tuple():
            items = [action_keys(s, f"{name}/{i}") for i, s in enumerate(space)]
            return ActionKeys(
                _merged(items),
                lambda action: tuple(part.assemble(action) for part in items),
                [note for part in items for note in part.notes],
            )
        case spaces.Discrete():
            start = int(space.start)
            return ActionKeys(
                {name: Space(np.dtype(np.int32), (), int(space.n))},
                lambda action: int(action[name]) + start,
            )
        case spaces.MultiBinary():
            return _classes(name, space.shape, 2, 0, np.dtype(space.dtype))
        case spaces.MultiDiscrete():
            return _multi_discrete(name, space, np.dtype(space.dtype))
        case spaces.Box():
            return _box(name, space)
    raise UserError(f"action {name!r} is a {type(space).__name__}; supported are {_SUPPORTED}")


def _observations(
    space: spaces.Space, name: str, path: tuple[Any, ...]
) -> Iterator[ObservationKey]:
    match space:
        case spaces.Dict():
            for key, part in space.items():
                yield from _observations(part, f"{name}/{key}" if name else str(key), (*path, key))
        case spaces.Tuple():
            for i, part in enumerate(space):
                yield from _observations(part, f"{name}/{i}", (*path, i))
        case spaces.Discrete():
            yield ObservationKey(
                name, path, class_leaf(name, (), int(space.n), start=int(space.start))
            )
        case spaces.MultiBinary():
            yield ObservationKey(name, path, class_leaf(name, space.shape, 2))
        case spaces.MultiDiscrete():
            yield from _multi_discrete_observations(space, name, path)
        case spaces.Box():
            leaf = observation_leaf(name, space.dtype, space.shape, space.low, space.high)
            yield ObservationKey(name, path, leaf)
        case _:
            raise UserError(
                f"observation {name!r} is a {type(space).__name__}; supported are {_SUPPORTED}"
            )


def _multi_discrete_observations(
    space: spaces.MultiDiscrete, name: str, path: tuple[Any, ...]
) -> Iterator[ObservationKey]:
    counts, starts = space.nvec, space.start
    if len(set(counts.flat)) == 1 and len(set(starts.flat)) == 1:
        leaf = class_leaf(name, space.shape, int(counts.flat[0]), start=int(starts.flat[0]))
        yield ObservationKey(name, path, leaf)
        return
    for i, index in enumerate(np.ndindex(counts.shape)):
        part = f"{name}/{i}"
        leaf = class_leaf(part, (), int(counts[index]), start=int(starts[index]))
        yield ObservationKey(part, (*path, index), leaf)


def _merged(parts: Any) -> dict[str, Space]:
    merged: dict[str, Space] = {}
    for part in parts:
        if repeated := merged.keys() & part.spaces.keys():
            raise UserError(f"action keys {sorted(repeated)} appear twice; rename one of each")
        merged |= part.spaces
    return merged


def _classes(
    name: str, shape: tuple[int, ...], classes: int, start: int, dtype: np.dtype
) -> ActionKeys:
    space = Space(np.dtype(np.int32), flattened(name, shape), classes)

    def assemble(action: Mapping[str, np.ndarray]) -> np.ndarray:
        return (np.asarray(action[name]) + start).astype(dtype).reshape(shape)

    return ActionKeys({name: space}, assemble)


def _multi_discrete(name: str, space: spaces.MultiDiscrete, dtype: np.dtype) -> ActionKeys:
    counts, starts = space.nvec, space.start
    if len(set(counts.flat)) == 1 and len(set(starts.flat)) == 1:
        return _classes(name, space.shape, int(counts.flat[0]), int(starts.flat[0]), dtype)
    names = [f"{name}/{i}" for i in range(counts.size)]
    scalars = {
        key: Space(np.dtype(np.int32), (), int(n))
        for key, n in zip(names, counts.flat, strict=True)
    }

    def assemble(action: Mapping[str, np.ndarray]) -> np.ndarray:
        flat = np.array([action[key] for key in names], np.int64)
        return (flat.reshape(counts.shape) + starts).astype(dtype)

    return ActionKeys(scalars, assemble)


def _box(name: str, space: spaces.Box) -> ActionKeys:
    dtype = np.dtype(space.dtype)
    if np.issubdtype(dtype, np.floating):
        to_environment = action_range(space.low, space.high, dtype)
        continuous = Space(np.dtype(np.float32), flattened(name, space.shape))
        shape = space.shape
        return ActionKeys(
            {name: continuous},
            lambda action: np.asarray(to_environment(action[name].reshape(shape))),
            missing_bounds(name, space.low, space.high),
        )
    # Wide enough for the number of values of any integer type.
    low, high = space.low.astype(object), space.high.astype(object)
    if (counts := high - low + 1).max() > _MOST_CHOICES:
        raise UserError(
            f"action {name!r} is a Box of {dtype} with {counts.max()} values; use floats that the "
            "environment rounds"
        )
    choices = spaces.MultiDiscrete(counts.astype(np.int64), start=space.low.astype(np.int64))
    return _multi_discrete(name, choices, dtype)
