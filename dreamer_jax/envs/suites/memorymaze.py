"""Memory Maze: `memorymaze:9x9` to `memorymaze:15x15`, 64×64 pictures and six actions.

The colour of the object to be found is the border of the picture. Drawing needs OpenGL; a reset
builds a maze and takes seconds.
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import dm_env

from dreamer_jax.envs.adapters.composer import RebuiltEnvironment
from dreamer_jax.envs.adapters.wrappers import wrap
from dreamer_jax.envs.naming import unknown_name
from dreamer_jax.envs.spec import Env
from dreamer_jax.envs.suites.opengl import enable_rendering

NAMES = ("9x9", "11x11", "13x13", "15x15")


def make(name: str, /, *, time_limit: int = 0) -> Env:
    """Build a maze of the benchmark.

    Args:
        name: Its size.
        time_limit: Steps after which an episode is truncated; 0 for the maze's own limit.

    Raises:
        UserError: For another size, or where OpenGL does not work.
    """
    if name not in NAMES:
        raise unknown_name("Memory Maze", name, NAMES)
    enable_rendering()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gym warns of itself
        from memory_maze import tasks
    env = RebuiltEnvironment(partial(_build, getattr(tasks, f"memory_maze_{name}")))
    return wrap(env, time_limit=time_limit or None)


def _build(task: Any, seed: int) -> dm_env.Environment:
    environment: dm_env.Environment = task(seed=seed, image_only_obs=True)
    return environment
