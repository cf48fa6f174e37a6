"""A simulator of one's own as an environment: two functions, and what goes into them.

For anything that has a `reset` and a `step` but no interface that is known here. Observations are
described by the first one seen, actions by keyword, so that nothing needs to be declared twice:

    from dreamer_jax.envs.adapters.functions import from_functions

    class Walk:
        def reset(self, seed):
            self.x = seed % 1000 / 1000
            return self.x

        def step(self, action):
            self.x += 0.1 * float(action)
            return self.x, -abs(self.x), abs(self.x) > 2  # observation, reward, terminated

    def make():
        return from_functions(Walk(), action=(-1.0, 1.0))

In `my_sim.py` this is the task `my_sim:make`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from dreamer_jax.envs.adapters.actions import action_range, missing_bounds
from dreamer_jax.envs.adapters.observations import class_leaf, observation_leaf
from dreamer_jax.envs.adapters.returned import described, reward_of
from dreamer_jax.envs.adapters.wrappers import wrap
from dreamer_jax.envs.spec import Env, signals
from dreamer_jax.errors import RecordError, UserError
from dreamer_jax.types import Record, Space, Spaces

# How an action is described: by a number of choices, or by lower and upper bounds.
Choice = int | tuple[Any, Any]

_UNSEEDED = "reset takes no seed, so that no episode can be repeated; name a parameter of it seed"
_ANY_NUMBER = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def from_functions(
    simulator: Any,
    *,
    action: Choice | Mapping[str, Choice],
    classes: Mapping[str, int] | int | None = None,
    **wrapping: Any,
) -> Env:
    """Make an environment of a simulator that has the functions `reset` and `step`.

    `reset(seed)`, or `reset()` of a simulator that takes no seeds and is then not reproducible,
    returns an observation: a number, an array, or a dict of them by name; uint8 arrays
    `[height, width, channels]` are pictures. The seed goes to a parameter named `seed`, otherwise
    to the first one that has no default. Python's numbers are floats; NumPy's integers stay
    integers, and a fraction where the first observation had one is an error.

    `step(action)` returns the next observation, the reward, and `terminated`; if it can also stop
    for other reasons, `truncated` after that. A dict after these is ignored, and so is one that
    `reset` returns beside the observation, as Gymnasium environments do. `render()` and `close()`
    are called if they exist.

    Args:
        simulator: An object, module, namespace or dict that holds the functions.
        action: What `step` takes: n for one of 0 … n − 1; (low, high), numbers or arrays, for
            floats between them; a dict of these by name if it takes a dict.
        classes: Number of classes of integers in the observation that are not quantities, by name,
            or of the observation itself; Python's integers are classes, too, where it says so.
        **wrapping: Keywords of `wrappers.wrap`, such as `time_limit` and `repeat`.

    Raises:
        UserError: If a function is missing, or a description has no meaning.
    """
    return wrap(FunctionEnv(simulator, action, classes), **wrapping)


class FunctionEnv:
    """Adapter of functions to the contract in `spec.py`; `from_functions` documents them."""

    repeat = 1

    def __init__(
        self,
        simulator: Any,
        action: Choice | Mapping[str, Choice],
        classes: Mapping[str, int] | int | None = None,
    ) -> None:
        """Describe the observations by those of one reset."""
        self._reset, self._step = (_function(simulator, name) for name in ("reset", "step"))
        self._render, self._close = (
            _function(simulator, name, lambda: None) for name in ("render", "close")
        )
        seeded = _seeded(self._reset)
        self._reset_with = seeded or (lambda _: self._reset())
        single = not isinstance(action, Mapping)
        choices: Mapping[str, Choice] = {"action": action} if single else action  # type: ignore
        acted = {key: _action(key, choice) for key, choice in choices.items()}
        self._to_simulator = {key: each.convert for key, each in acted.items()}
        self.notes = [note for each in acted.values() for note in each.notes]
        if seeded is None:
            self.notes.append(_UNSEEDED)
        self._single = single
        observation = self._first(0)
        self._name = _single_name(observation)
        first = self._named(observation)
        counts = classes if isinstance(classes, Mapping) else dict.fromkeys(first, classes)
        if unknown := sorted(counts.keys() - first.keys()):
            raise UserError(f"classes names {unknown}, observed are {sorted(first)}")
        self._leaves = {key: _leaf(key, value, counts.get(key)) for key, value in first.items()}
        self.spaces = Spaces(
            {key: leaf.space for key, leaf in self._leaves.items()},
            {key: each.space for key, each in acted.items()},
        )

    def reset(self, seed: int) -> Record:
        """Start an episode, the one that `seed` determines if the simulator takes seeds."""
        return self._record(self._first(seed), signals(is_first=True))

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Apply one action."""
        given = {key: convert(action[key]) for key, convert in self._to_simulator.items()}
        returned = self._step(given["action"] if self._single else given)
        if not isinstance(returned, tuple) or len(returned) not in (3, 4, 5):
            raise UserError(
                "step returns (observation, reward, terminated) or (observation, reward, "
                f"terminated, truncated), not {described(returned)}"
            )
        observation, reward, terminated, *rest = returned
        truncated = bool(rest) and not isinstance(rest[0], Mapping) and bool(rest[0])
        terminal = bool(terminated)
        flags = signals(reward_of(reward), is_last=terminal or truncated, is_terminal=terminal)
        return self._record(observation, flags)

    def render(self) -> np.ndarray | None:
        """Return the simulator's own picture, if it has one."""
        picture = self._render()
        return None if picture is None else np.asarray(picture, np.uint8)

    def close(self) -> None:
        """Close the simulator, if it can be closed."""
        self._close()

    def _first(self, seed: int) -> Any:
        observation = self._reset_with(seed)
        with_info = isinstance(observation, tuple) and len(observation) == 2
        return observation[0] if with_info and isinstance(observation[1], Mapping) else observation

    def _named(self, observation: Any) -> Mapping[str, Any]:
        return observation if isinstance(observation, Mapping) else {self._name: observation}

    def _record(self, observation: Any, record: dict[str, Any]) -> Record:
        named = self._named(observation)
        if unknown := sorted(named.keys() - self._leaves.keys()):
            raise RecordError(f"the observation has {unknown}, which the first one did not have")
        # A key that is absent stays so; `fill_missing` is for that.
        for key, value in named.items():
            record[key] = self._leaves[key].convert(value)
        return record


def _function(simulator: Any, name: str, absent: Callable[..., Any] | None = None) -> Any:
    found = simulator.get(name) if isinstance(simulator, Mapping) else None
    found = found or getattr(simulator, name, absent)
    if not callable(found):
        raise UserError(f"the simulator {described(simulator)} has no function {name!r}")
    return found


def _seeded(reset: Callable[..., Any]) -> Callable[[int], Any] | None:
    """Return `reset` as a function of the seed, which no parameter of another meaning gets.

    Returns:
        None if it takes no seed.

    Raises:
        UserError: If it needs anything else.
    """
    try:
        parameters = list(inspect.signature(reset).parameters.values())
    except ValueError:  # of compiled functions without a signature
        return None
    kinds = {parameter.kind for parameter in parameters}
    single = [parameter for parameter in parameters if parameter.kind not in _ANY_NUMBER]
    needed = [parameter for parameter in single if parameter.default is parameter.empty]
    named = [parameter for parameter in single if parameter.name == "seed"]
    taker = next(iter(named or needed), None)
    if others := [parameter.name for parameter in needed if parameter is not taker]:
        raise UserError(f"reset needs {others} beside the seed; give it a default")
    if taker is None:
        if inspect.Parameter.VAR_KEYWORD in kinds:
            return lambda seed: reset(seed=seed)
        return reset if inspect.Parameter.VAR_POSITIONAL in kinds else None
    if taker.kind is taker.POSITIONAL_ONLY:
        return reset
    name = taker.name
    return lambda seed: reset(**{name: seed})


def _single_name(observation: Any) -> str:
    """Return the key of an observation without one, as the adapter of Gymnasium names it."""
    array = np.asarray(observation)
    if isinstance(observation, Mapping) or array.dtype != np.uint8:
        return "vector"
    return "image" if observation_leaf("", array.dtype, array.shape).space.is_image else "vector"


def _leaf(key: str, value: Any, count: int | None) -> Any:
    array = np.asarray(value)
    if count is not None:
        return class_leaf(key, array.shape, count)
    # 0 may be followed by 0.1: only whoever says a type of NumPy's means integers.
    dtype = np.dtype(np.float32) if _python_integers(value) else array.dtype
    return observation_leaf(key, dtype, array.shape)


def _python_integers(value: Any) -> bool:
    """Return whether a value is an integer of Python's, or sequences of them."""
    while isinstance(value, list | tuple) and value:
        value = value[0]
    return isinstance(value, int) and not isinstance(value, bool)


class _Acted(NamedTuple):
    """An action's space, and what turns it into the simulator's own."""

    space: Space
    convert: Callable[[np.ndarray], Any]
    notes: list[str]


def _action(key: str, choice: Choice) -> _Acted:
    if isinstance(choice, int) and choice >= 1:
        return _Acted(Space(np.dtype(np.int32), (), choice), int, [])
    if isinstance(choice, tuple) and len(choice) == 2:
        low, high = np.broadcast_arrays(*(np.asarray(bound, np.float32) for bound in choice))
        if (low <= high).all():
            convert = action_range(low, high, np.dtype(np.float32))
            space = Space(np.dtype(np.float32), low.shape)
            return _Acted(space, convert, missing_bounds(key, low, high))
    raise UserError(
        f"{key}={choice!r} describes no action; n stands for 0 … n − 1, (low, high) for floats "
        "between these bounds, numbers or arrays"
    )
