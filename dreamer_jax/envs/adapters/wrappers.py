"""Environments made of environments: repeat, end, resize, stack pictures, fill what is missing.

Times are simulator steps, as `Env.repeat` counts them. A wrapper hides `Snapshots`, because its own
state would be missing from one: the open episode of a wrapped environment is resumed by replaying
its actions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from dreamer_jax.envs.adapters.images import padded, resized
from dreamer_jax.envs.adapters.observations import missing_value
from dreamer_jax.envs.spec import Env, signals
from dreamer_jax.errors import UserError
from dreamer_jax.types import Record, Spaces

_FITS = ("resize", "pad")
_LEAST_ONE = {
    "repeat": "an action is applied at least once",
    "time_limit": "an episode has at least one step",
}


def wrap(
    env: Env,
    *,
    repeat: int = 1,
    time_limit: int | None = None,
    size: tuple[int, int] | None = None,
    fit: str = "resize",
    stack: int = 1,
    fill_missing: bool = False,
) -> Env:
    """Apply the wrappers asked for, none by default.

    Args:
        env: To be wrapped.
        repeat: See `ActionRepeat`.
        time_limit: See `TimeLimit`; counted before repeating, so in the simulator's steps.
        size: See `Resize`.
        fit: See `Resize`.
        stack: See `FrameStack`.
        fill_missing: See `FillMissing`.

    Raises:
        UserError: For a value that means nothing.
    """
    if not isinstance(fill_missing, bool):
        raise UserError(f"fill_missing is {fill_missing!r}; it is True or False")
    if fill_missing:
        env = FillMissing(env)
    if time_limit is not None:
        env = TimeLimit(env, time_limit)
    if repeat != 1:
        env = ActionRepeat(env, repeat)
    if size is not None:
        env = Resize(env, size, fit)
    if stack != 1:
        env = FrameStack(env, stack)
    return env


def check_count(option: str, value: int | None) -> None:
    """Check one of `repeat` and `time_limit`, None of which stands for none.

    Raises:
        UserError: If it is no whole number of at least 1.
    """
    if value is not None and not _is_count(value):
        raise UserError(f"{option} is {value!r}; {_LEAST_ONE[option]}")


def _is_count(value: Any) -> bool:
    """Return whether an option, which a command line may give any type, is an integer from 1."""
    return isinstance(value, int | np.integer) and value is not True and bool(value >= 1)


class _Wrapper:
    """Hands everything on."""

    def __init__(self, env: Env) -> None:
        self.env = env
        self.spaces = env.spaces
        self.repeat = env.repeat
        self.notes: list[str] = getattr(env, "notes", [])

    def reset(self, seed: int) -> Record:
        """Start the episode that `seed` determines."""
        return self.env.reset(seed)

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Apply one action."""
        return self.env.step(action)

    def render(self) -> np.ndarray | None:
        """Return a picture of the present state, if there is one."""
        return self.env.render()

    def close(self) -> None:
        """Close the wrapped environment."""
        self.env.close()


class ActionRepeat(_Wrapper):
    """Applies each action `repeat` times or until the episode ends; rewards are summed."""

    def __init__(self, env: Env, repeat: int) -> None:
        super().__init__(env)
        check_count("repeat", repeat)
        self._times = repeat
        self.repeat = env.repeat * repeat

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Apply one action several times."""
        reward, terminal = 0.0, False
        for _ in range(self._times):
            record = self.env.step(action)
            reward += float(record["reward"])
            terminal |= bool(record["is_terminal"])
            if record["is_last"]:
                break
        last = bool(record["is_last"])
        return record | signals(reward, is_last=last, is_terminal=terminal)


class TimeLimit(_Wrapper):
    """Truncates episodes after `limit` simulator steps: `is_last` without `is_terminal`."""

    def __init__(self, env: Env, limit: int) -> None:
        super().__init__(env)
        check_count("time_limit", limit)
        self._limit = limit
        self._passed = 0

    def reset(self, seed: int) -> Record:
        """Start the episode and its clock."""
        self._passed = 0
        return self.env.reset(seed)

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Apply one action."""
        record = self.env.step(action)
        self._passed += self.env.repeat
        if self._passed >= self._limit:
            record |= {"is_last": np.asarray(True)}
        return record


class Resize(_Wrapper):
    """Brings every image to `size` (height, width), scaled or centred on black.

    Args:
        env: To be wrapped.
        size: Height and width in pixels.
        fit: "resize" scales with an antialiased bilinear filter (`images`); "pad" keeps the pixels.

    Raises:
        UserError: For a size that is none, or one that an image is too large to be padded to.
    """

    def __init__(self, env: Env, size: tuple[int, int], fit: str = "resize") -> None:
        super().__init__(env)
        if fit not in _FITS:
            raise UserError(f"fit is {fit!r}; choose one of {', '.join(_FITS)}")
        if not (isinstance(size, tuple | list) and len(size) == 2 and all(map(_is_count, size))):
            raise UserError(f"size is {size!r}; it is height and width in pixels, such as (64, 64)")
        self._size, self._pad = (size[0], size[1]), fit == "pad"
        self._keys = [key for key, space in env.spaces.obs.items() if space.is_image]
        obs = dict(env.spaces.obs)
        for key in self._keys:
            height, width, channels = obs[key].shape
            if self._pad and (height > size[0] or width > size[1]):
                raise UserError(
                    f"image {key!r} has {height}×{width} pixels and cannot be padded to "
                    f"{size[0]}×{size[1]}; use fit='resize'"
                )
            obs[key] = obs[key]._replace(shape=(*size, channels))
        self.spaces = Spaces(obs, env.spaces.action)

    def reset(self, seed: int) -> Record:
        """Start the episode that `seed` determines."""
        return self._fit(self.env.reset(seed))

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Apply one action."""
        return self._fit(self.env.step(action))

    def _fit(self, record: Record) -> Record:
        change = padded if self._pad else resized
        for key in self._keys:
            record[key] = change(record[key], self._size)
        return record


class FrameStack(_Wrapper):
    """Observes the last `frames` pictures together, oldest first, as channels of one.

    After a reset all of them are the first one.

    Args:
        env: To be wrapped.
        frames: How many.

    Raises:
        UserError: If there are none to stack.
    """

    def __init__(self, env: Env, frames: int) -> None:
        super().__init__(env)
        keys = [key for key, space in env.spaces.obs.items() if space.is_image]
        if not _is_count(frames) or not keys:
            raise UserError(f"stack is {frames!r}; it is at least 1 and stacks pictures: {keys}")
        self._kept: dict[str, deque[np.ndarray]] = {key: deque(maxlen=frames) for key in keys}
        obs = dict(env.spaces.obs)
        for key in keys:
            height, width, channels = obs[key].shape
            obs[key] = obs[key]._replace(shape=(height, width, frames * channels))
        self.spaces = Spaces(obs, env.spaces.action)

    def reset(self, seed: int) -> Record:
        """Start the episode that `seed` determines."""
        record = self.env.reset(seed)
        for key, kept in self._kept.items():
            kept.extend([record[key]] * (kept.maxlen or 0))
        return self._stacked(record)

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Apply one action."""
        record = self.env.step(action)
        for key, kept in self._kept.items():
            kept.append(record[key])
        return self._stacked(record)

    def _stacked(self, record: Record) -> Record:
        return record | {key: np.concatenate(kept, -1) for key, kept in self._kept.items()}


class FillMissing(_Wrapper):
    """Gives observation keys that a record lacks the values that mark them as missing.

    These values (docs/algorithm.md 1) are −inf for floats and −1 for signed integers, which the
    encoder reads as zeros. Pictures turn black, and what else is unsigned turns 0.
    """

    def __init__(self, env: Env) -> None:
        super().__init__(env)
        self._missing = {key: missing_value(space) for key, space in env.spaces.obs.items()}

    def reset(self, seed: int) -> Record:
        """Start the episode that `seed` determines."""
        return self._missing | self.env.reset(seed)

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Apply one action."""
        return self._missing | self.env.step(action)
