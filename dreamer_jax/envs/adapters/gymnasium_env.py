"""Any Gymnasium environment: `gymnasium:<id>`, or an instance.

Terminated and truncated stay apart: only the first is `is_terminal`. Every episode is reset with
its own seed, so it is a function of that seed wherever the environment honours Gymnasium's
seeding.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs import registration

from dreamer_jax.envs.adapters.gymnasium_spaces import action_keys, observation_keys
from dreamer_jax.envs.adapters.observations import at
from dreamer_jax.envs.adapters.wrappers import wrap
from dreamer_jax.envs.naming import unknown_name, unknown_option
from dreamer_jax.envs.spec import Env, signals
from dreamer_jax.errors import UserError
from dreamer_jax.types import Record, Spaces

_UNKNOWN = (gymnasium.error.UnregisteredEnv, gymnasium.error.DeprecatedEnv)


def make(
    name: str,
    /,
    *,
    repeat: int = 1,
    time_limit: int | None = None,
    size: tuple[int, int] | None = None,
    fit: str = "resize",
    stack: int = 1,
    fill_missing: bool = False,
    render_mode: str | None = "rgb_array",
    **kwargs: Any,
) -> Env:
    """Build an environment from its Gymnasium id.

    Args:
        name: Gymnasium id; `module:id` imports the module that registers it first.
        repeat: Times each action is applied; rewards are summed.
        time_limit: Length in simulator steps after which an episode is truncated; None keeps
            the registered one.
        size: Height and width that images are brought to.
        fit: "resize" or "pad", how they are brought there.
        stack: Last pictures that are observed together, as channels.
        fill_missing: Whether observation keys may be absent, see `wrappers.FillMissing`.
        render_mode: Used only by `render()`, where the environment offers it.
        **kwargs: Passed to the environment's constructor.

    Raises:
        UserError: For an unknown id, a missing package or an unknown option.
    """
    try:
        spec = gymnasium.spec(name)
        creator = registration.load_env_creator(spec.entry_point)  # type: ignore[arg-type]
        _check_kwargs(name, creator, kwargs)
        modes = getattr(creator, "metadata", {}).get("render_modes", ())
        env = gymnasium.make(
            name,
            max_episode_steps=time_limit,
            render_mode=render_mode if render_mode in modes else None,
            disable_env_checker=True,
            **kwargs,
        )
    except gymnasium.error.DependencyNotInstalled as error:
        raise UserError(f"gymnasium:{name} needs another package: {error}") from error
    except _UNKNOWN as error:
        raise unknown_name("gymnasium id", name, list(gymnasium.registry), error) from error
    return wrap(
        GymnasiumEnv(env), repeat=repeat, size=size, fit=fit, stack=stack, fill_missing=fill_missing
    )


def _check_kwargs(name: str, creator: Callable[..., Any], kwargs: Mapping[str, Any]) -> None:
    own = dict(inspect.signature(make).parameters)
    theirs = dict(inspect.signature(creator).parameters)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in theirs.values()):
        return
    for option in kwargs:
        if option not in theirs:
            del own["name"], own["kwargs"]
            raise unknown_option(f"gymnasium:{name}", option, theirs | own)


class GymnasiumEnv:
    """Adapter of a `gymnasium.Env` instance to the contract in `spec.py`."""

    repeat = 1

    def __init__(self, env: gymnasium.Env) -> None:
        """Adapt `env`, which is closed with this object.

        Raises:
            UserError: For spaces that a record or an action cannot hold.
        """
        self._env = env
        keys = observation_keys(env.observation_space)
        action = action_keys(env.action_space)
        self._keys = [(key.name, key.path, key.leaf.convert) for key in keys]
        self._assemble = action.assemble
        self.spaces = Spaces({key.name: key.leaf.space for key in keys}, action.spaces)

    def reset(self, seed: int) -> Record:
        """Start the episode that `seed` determines."""
        obs, _ = self._env.reset(seed=seed)
        return self._record(obs, signals(is_first=True))

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Apply one action."""
        obs, reward, terminated, truncated, _ = self._env.step(self._assemble(action))
        terminal = bool(terminated)
        return self._record(
            obs, signals(float(reward), is_last=terminal or bool(truncated), is_terminal=terminal)
        )

    def render(self) -> np.ndarray | None:
        """Return the environment's own picture if it was made with `rgb_array`."""
        if self._env.render_mode != "rgb_array":
            return None
        # Pictures need no screen; without this SDL looks for one and complains on stderr.
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        picture: Any = self._env.render()
        return None if picture is None else np.asarray(picture, np.uint8)

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _record(self, obs: Any, record: dict[str, Any]) -> Record:
        for name, path, convert in self._keys:
            if (value := at(obs, path)) is not None:
                record[name] = convert(value)
        return record
