"""Many device environments as one: the records of the host's vector environment, exactly."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import pytest

from dreamer_jax.device_envs.chase import Chase
from dreamer_jax.device_envs.host import HostEnv
from dreamer_jax.device_envs.vector import DeviceVectorEnv
from dreamer_jax.envs.adapters.actions import random_actions
from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.vector.vector_env import VectorEnv, episode_seed
from dreamer_jax.errors import UserError

pytestmark = pytest.mark.usefixtures("cheap_compile")

NUMBER, SEED = 5, 11


@pytest.mark.parametrize("image", [False, True])
def test_records_and_resets_are_those_of_the_host(image):
    env = Chase(cells=3, length=7, image=image)
    envs = DeviceVectorEnv(env, NUMBER, seed=SEED)
    step, rng = jax.jit(envs.step), np.random.default_rng(0)
    episodes = np.zeros(NUMBER, int)
    upcoming = lambda: np.array(
        [envs.episode_seeds(e, int(k), 1)[0] for e, k in enumerate(episodes)], np.uint32
    )
    states, records = jax.jit(envs.reset)(upcoming())
    with VectorEnv(partial(HostEnv, env), NUMBER, seed=SEED, workers="inline") as host:
        expected = host.reset()
        ends = set()
        for _ in range(40):
            for key in expected:
                if not key.startswith("log/"):
                    assert np.asarray(records[key]).dtype == expected[key].dtype
                    np.testing.assert_array_equal(records[key], expected[key])
            np.testing.assert_array_equal(
                records["log/caught"], expected.get("log/caught", np.full(NUMBER, np.nan))
            )
            ended = expected["is_last"]
            ends |= set(expected["is_terminal"][ended].tolist())
            episodes += expected["is_first"]
            actions = random_actions(envs.spaces.action, rng, NUMBER)
            states, records = step(states, records["is_last"], actions, upcoming())
            expected = host.step(actions)
    assert ends == {False, True} and episodes.min() > 3


def test_seeds_are_those_of_the_host():
    envs = DeviceVectorEnv(Chase(), 3, seed=5, process=2)
    assert envs.episode_seeds(1, 4, 3) == [episode_seed(5, 2, 1, k) for k in (4, 5, 6)]


def test_bad_numbers_are_named():
    for options in ({"number": 0}, {"seed": -1}, {"steps": 0}):
        with pytest.raises(UserError, match="at least 1 environment"):
            DeviceVectorEnv(Chase(), **{"number": 1, "seed": 0, **options})


def test_one_environment_is_drawn():
    envs = DeviceVectorEnv(Chase(image=True), 3, seed=0)
    states, records = jax.jit(envs.reset)(np.arange(3, dtype=np.uint32))
    np.testing.assert_array_equal(envs.render(states, 1), records["image"][1])


def test_the_registry_gives_the_same_environment():
    make = partial(make_env, "device:chase", cells=3)
    assert make().device_env == Chase(cells=3)
