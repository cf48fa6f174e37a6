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

from dreamer_jax.envs.adapters.gymnasium_ids import load_creator, registered, remedy, unknown_id
from dreamer_jax.envs.adapters.gymnasium_spaces import action_keys, observation_keys
from dreamer_jax.envs.adapters.observations import at
from dreamer_jax.envs.adapters.returned import reward_of
from dreamer_jax.envs.adapters.wrappers import check_count, wrap
from dreamer_jax.envs.naming import unknown_option
from dreamer_jax.envs.spec import Env, signals
from dreamer_jax.errors import UserError
from dreamer_jax.types import Record, Spaces


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
        name: Gymnasium id; of `module:id`, the module is imported first, which registers the id.
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
    check_count("time_limit", time_limit)
    spec = registered(name)
    try:
        creator = load_creator(spec)
        _check_kwargs(spec.id, creator, kwargs)
        # Not every constructor takes the keyword.
        if render_mode in getattr(creator, "metadata", {}).get("render_modes", ()):
            kwargs["render_mode"] = render_mode
        env = gymnasium.make(
            spec.id, max_episode_steps=time_limit, disable_env_checker=True, **kwargs
        )
    except gymnasium.error.DeprecatedEnv as error:
        raise unknown_id(spec.id, error) from error
    except ModuleNotFoundError as error:
        raise UserError(
            f"gymnasium:{name} needs the package {error.name!r}, which is not installed: "
            f"{remedy(spec, error)}"
        ) from error
    except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
        raise UserError(f"gymnasium:{name} needs another package: {error}") from error
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
            UserError: For spaces that a record or an action cannot hold, or a `reset` that takes no
                seed.
        """
        _check_seeding(env)
        self._env = env
        keys = observation_keys(env.observation_space)
        action = action_keys(env.action_space)
        self._keys = [(key.name, key.path, key.leaf.convert) for key in keys]
        self._assemble = action.assemble
        self.notes = list(action.notes)
        self.spaces = Spaces({key.name: key.leaf.space for key in keys}, action.spaces)

    def reset(self, seed: int) -> Record:
        """Start the episode that `seed` determines."""
        try:
            obs, _ = self._env.reset(seed=seed)
        except (TypeError, ValueError) as error:
            self._explain(error, "reset", "(observation, info)")
            raise
        return self._record(obs, signals(is_first=True))

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Apply one action."""
        try:
            obs, reward, terminated, truncated, _ = self._env.step(self._assemble(action))
        except (TypeError, ValueError) as error:
            self._explain(error, "step", "(observation, reward, terminated, truncated, info)")
            raise
        terminal = bool(terminated)
        flags = signals(
            reward_of(reward), is_last=terminal or bool(truncated), is_terminal=terminal
        )
        return self._record(obs, flags)

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

    def _explain(self, error: Exception, method: str, form: str) -> None:
        """Say in words that a method returned something that could not be taken apart.

        Raises:
            UserError: If that is the error; any other is the simulator's own.
        """
        trace: Any = error.__traceback__
        while trace.tb_next is not None:
            trace = trace.tb_next
        where = trace.tb_frame.f_globals.get("__name__", "")
        if "unpack" in str(error) and where.startswith((__name__, "gymnasium.wrappers")):
            raise UserError(
                f"{method} of {type(self._env.unwrapped).__name__} returns something else than "
                f"{form}; one written for Gym before 0.26 is wrapped by "
                "shimmy.GymV21CompatibilityV0(env=…)"
            ) from error


def _check_seeding(env: gymnasium.Env) -> None:
    """Refuse an environment or a wrapper in it whose `reset` does not take what it is given."""
    layer: Any = env
    given = ["seed"]
    while layer is not None:
        try:
            parameters = inspect.signature(layer.reset).parameters.values()
        except ValueError:  # of compiled functions without a signature
            return
        names = {parameter.name for parameter in parameters}
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        if not takes_all and (lacking := [name for name in given if name not in names]):
            raise UserError(
                f"reset of {type(layer).__name__} takes no {lacking[0]}; Gymnasium's is "
                "reset(self, *, seed=None, options=None)"
            )
        layer = layer.env if isinstance(layer, gymnasium.Wrapper) else None
        given = ["seed", "options"]  # as wrappers call it
