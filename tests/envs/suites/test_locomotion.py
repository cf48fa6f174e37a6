"""Locomotion examples: built from the episode's seed, camera and proprioception."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("dm_control")

from dreamer_jax.envs.adapters.actions import random_actions
from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.suites.locomotion import make, names
from dreamer_jax.errors import UserError
from dreamer_jax.types import Space

# dm_control's own indexing, under NumPy 2.5.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Setting the shape:DeprecationWarning"),
]


def _play(env, seed, steps):
    rng = np.random.default_rng(0)
    records = [env.reset(seed)]
    for _ in range(steps):
        actions = random_actions(env.spaces.action, rng, 1)
        records.append(env.step({key: value[0] for key, value in actions.items()}))
    return records


def test_a_body_sees_and_feels_and_its_episode_is_a_function_of_its_seed():
    first, second = (make_env("locomotion:rodent_maze_forage", repeat=2) for _ in range(2))
    obs = first.spaces.obs
    assert obs["walker/egocentric_camera"] == Space(np.dtype(np.uint8), (64, 64, 3))
    assert obs["walker/joints_pos"] == Space(np.dtype(np.float32), (30,))
    assert first.spaces.action["action"].shape == (38,)
    assert "walker/sensors_force" not in obs, "this body has none"
    second.reset(8)
    for a, b in zip(_play(first, 3, 5), _play(second, 3, 5), strict=True):
        assert a.keys() == b.keys()
        assert all(np.array_equal(a[key], b[key]) for key in a)
    assert first.repeat == 2 and first.render().shape == (240, 320, 3)
    first.close(), second.close()


def test_global_random_numbers_are_left_alone():
    np.random.seed(7)  # noqa: NPY002
    expected = np.random.rand()  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002
    make("rodent_escape_bowl").reset(3)
    assert np.random.rand() == expected  # noqa: NPY002


def test_unknown_tasks_are_named_with_near_ones():
    assert len(names()) == 9
    with pytest.raises(UserError, match=r"'rodent_maze'.*rodent_maze_forage"):
        make_env("locomotion:rodent_maze")
