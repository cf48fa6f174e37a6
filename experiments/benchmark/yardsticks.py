"""What a suite's own users would step many environments with, to measure our driver against.

Atari: the vector environment of ale-py, in C++ with a thread per core. dm_control has none: a plain
loop over its environments, and Gymnasium's vector environments round the smallest wrapper. All do
one vector step with random actions per call and reset an environment in place of its next step.
"""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import gymnasium
import numpy as np

from dreamer_jax.envs.vector.worker import startable

# One vector step; the result is thrown away.
Step = Callable[[], Any]
ACTIONS = 64  # vectors of actions, drawn beforehand and used over and over


@contextmanager
def yardsticks(task: str, options: Mapping[str, Any], number: int) -> Iterator[dict[str, Step]]:
    """Yield the ways to step `number` environments of a task, by name; none for most suites.

    Args:
        task: As `make_env` takes it.
        options: Of the preset's environment; the yardsticks do the same amount of work.
        number: How many environments.
    """
    suite, _, name = task.partition(":")
    if suite == "atari":
        vectors = {"ale_vector": _ale(name, options, number)}
    elif suite == "dmc" and not options.get("image"):
        vectors = _gymnasium(name, options.get("repeat", 1), number)
    else:
        vectors = {}
    try:
        steps = {key: _random_steps(vector, number) for key, vector in vectors.items()}
        if suite == "dmc" and vectors:
            steps["dmc_loop"] = _loop(name, options.get("repeat", 1), number)
        yield steps
    finally:
        for vector in vectors.values():
            vector.close()


def _ale(name: str, options: Mapping[str, Any], number: int) -> gymnasium.vector.VectorEnv:
    from ale_py.vector_env import AtariVectorEnv

    return AtariVectorEnv(
        name,
        number,
        img_height=options["size"][0],
        img_width=options["size"][1],
        grayscale=options["gray"],
        frameskip=options["repeat"],
        repeat_action_probability=0.25 if options["sticky"] else 0.0,
        full_action_space=options["actions"] == "all",
        noop_max=options["noops"],
        stack_num=1,
        reward_clipping=False,
        use_fire_reset=False,
    )


class DmControlGym(gymnasium.Env):
    """The smallest Gymnasium environment of a dm_control task: all observations in one vector."""

    def __init__(self, name: str, repeat: int) -> None:
        self._environment, self._repeat = _dm_control(name), repeat
        action = self._environment.action_spec()
        self.action_space = gymnasium.spaces.Box(
            action.minimum.astype(np.float32), action.maximum.astype(np.float32)
        )
        size = self.reset()[0].size
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        """Start an episode."""
        del seed, options
        return self._observed(self._environment.reset()), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Apply one action `repeat` times."""
        timestep, reward = _repeated(self._environment, action, self._repeat)
        return self._observed(timestep), reward, False, timestep.last(), {}

    def _observed(self, timestep: Any) -> np.ndarray:
        parts = [np.ravel(value) for value in timestep.observation.values()]
        return np.concatenate(parts, dtype=np.float32)


def _gymnasium(name: str, repeat: int, number: int) -> dict[str, gymnasium.vector.VectorEnv]:
    make: Any = partial(DmControlGym, name, repeat)
    # Forks from a server that has imported the suite once, and has no threads of JAX.
    multiprocessing.set_forkserver_preload(["dm_control.suite"])
    with startable(make):
        workers = gymnasium.vector.AsyncVectorEnv([make] * number, context="forkserver")
    return {
        "gymnasium_async": workers,
        "gymnasium_sync": gymnasium.vector.SyncVectorEnv([make] * number),
    }


def _random_steps(vector: gymnasium.vector.VectorEnv, number: int) -> Step:
    vector.reset(seed=0)
    vector.action_space.seed(0)
    actions = itertools.cycle([vector.action_space.sample() for _ in range(ACTIONS)])
    assert vector.num_envs == number
    return lambda: vector.step(next(actions))


def _loop(name: str, repeat: int, number: int) -> Step:
    """Return a loop over plain dm_control environments, which reset themselves after an end."""
    environments = [_dm_control(name) for _ in range(number)]
    shape = (ACTIONS, number, *environments[0].action_spec().shape)
    actions = itertools.cycle(np.random.default_rng(0).uniform(-1, 1, shape))
    return lambda: [
        _repeated(environment, action, repeat)
        for environment, action in zip(environments, next(actions), strict=True)
    ]


def _dm_control(name: str) -> Any:
    # As the tasks of this package: without a renderer, so that the two pay for the same.
    from dreamer_jax.envs.suites import dmc

    return dmc.make(name)._environment


def _repeated(environment: Any, action: np.ndarray, repeat: int) -> tuple[Any, float]:
    reward = 0.0
    for _ in range(repeat):
        timestep = environment.step(action)
        reward += timestep.reward or 0.0
        if timestep.last():
            break
    return timestep, reward
