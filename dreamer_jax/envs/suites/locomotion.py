"""The locomotion examples of dm_control: `locomotion:rodent_maze_forage` and others.

A rodent or a humanoid with its own camera (64×64, a key ending in `egocentric_camera`) and
proprioception. Drawing needs OpenGL.
"""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import dm_env
import numpy as np

from dreamer_jax.envs.adapters.composer import RebuiltEnvironment
from dreamer_jax.envs.naming import unknown_name
from dreamer_jax.envs.suites.opengl import enable_rendering

_EXAMPLES = {
    "rodent": ("basic_rodent_2020", ("escape_bowl", "run_gaps", "maze_forage", "two_touch")),
    "cmu_humanoid": (
        "basic_cmu_2019",
        ("run_walls", "run_gaps", "go_to_target", "maze_forage", "heterogeneous_forage"),
    ),
}


def names() -> list[str]:
    """Return the tasks."""
    return [f"{body}_{task}" for body, (_, tasks) in _EXAMPLES.items() for task in tasks]


def make(name: str, /, *, repeat: int = 1) -> RebuiltEnvironment:
    """Build a task.

    Args:
        name: `<body>_<task>`.
        repeat: Times each action is applied; rewards are summed.

    Raises:
        UserError: For an unknown task, or where OpenGL does not work.
    """
    if name not in names():
        raise unknown_name("locomotion task", name, names())
    enable_rendering()
    (module,) = [file for body, (file, _) in _EXAMPLES.items() if name.startswith(body)]
    examples = importlib.import_module(f"dm_control.locomotion.examples.{module}")
    return RebuiltEnvironment(partial(_build, getattr(examples, name)), repeat)


def _build(task: Any, seed: int) -> dm_env.Environment:
    environment: dm_env.Environment = task(random_state=np.random.RandomState(seed))
    return environment
