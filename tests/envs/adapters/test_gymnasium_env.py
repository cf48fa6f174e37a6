"""Gymnasium environments, real ones and one with every kind of space."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from dreamer_jax.envs.adapters.gymnasium_env import GymnasiumEnv
from dreamer_jax.envs.adapters.gymnasium_spaces import action_keys, observation_keys
from dreamer_jax.envs.checking.episodes import check_env
from dreamer_jax.envs.registry import make_env
from dreamer_jax.errors import UserError
from dreamer_jax.types import Space

FLOAT, INT, BYTE = np.dtype(np.float32), np.dtype(np.int32), np.dtype(np.uint8)


class Everything(gymnasium.Env):
    """Draws observations of every kind; remembers the action it got."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}
    observation = spaces.Dict(
        {
            "picture": spaces.Box(0, 255, (20, 24, 3), np.uint8),
            "gray": spaces.Box(0, 255, (16, 16), np.uint8),
            "pose": spaces.Dict({"angle": spaces.Box(-np.inf, np.inf, (2,), np.float64)}),
            "pair": spaces.Tuple([spaces.Discrete(3, start=-1), spaces.MultiBinary(5)]),
            "score": spaces.Box(-(2**40), 2**40, (), np.int64),
            "equal": spaces.MultiDiscrete([4, 4]),
            "unequal": spaces.MultiDiscrete([2, 7]),
        }
    )
    action_space: spaces.Space = spaces.Dict(
        {
            "move": spaces.Box(np.array([-2.0, 0.0]), np.array([2.0, 10.0]), dtype=np.float64),
            "keys": spaces.MultiDiscrete([3, 3], start=[1, 1]),
            "menu": spaces.Tuple([spaces.Discrete(5, start=2), spaces.MultiDiscrete([2, 3])]),
            "buttons": spaces.MultiBinary(3),
        }
    )

    def __init__(self):
        # Each instance samples from its own.
        self.observation_space = copy.deepcopy(self.observation)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed, options=options)
        self.observation_space.seed(seed)
        self.steps, self.action = 0, None
        return self.observation_space.sample() | {"score": np.int64(-3)}, {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.action = action
        self.steps += 1
        obs = self.observation_space.sample() | {"score": np.int64(self.steps)}
        return obs, np.float64(1.5), self.steps == 7, False, {}


def test_every_kind_of_observation_space_becomes_a_key():
    assert GymnasiumEnv(Everything()).spaces.obs == {
        "picture": Space(BYTE, (20, 24, 3)),
        "gray": Space(BYTE, (16, 16, 1)),
        "pose/angle": Space(FLOAT, (2,)),
        "pair/0": Space(INT, (), 3),
        "pair/1": Space(INT, (5,), 2),
        "score": Space(INT, ()),
        "equal": Space(INT, (2,), 4),
        "unequal/0": Space(INT, (), 2),
        "unequal/1": Space(INT, (), 7),
    }


def test_every_kind_of_action_space_becomes_a_key_and_comes_back():
    env = Everything()
    adapted = GymnasiumEnv(env)
    assert adapted.spaces.action == {
        "move": Space(FLOAT, (2,)),
        "keys": Space(INT, (2,), 3),
        "menu/0": Space(INT, (), 5),
        "menu/1/0": Space(INT, (), 2),
        "menu/1/1": Space(INT, (), 3),
        "buttons": Space(INT, (3,), 2),
    }
    adapted.reset(3)
    adapted.step(
        {
            "move": np.array([0.5, 1.0], np.float32),
            "keys": np.array([0, 2], np.int32),
            "menu/0": np.int32(4),
            "menu/1/0": np.int32(1),
            "menu/1/1": np.int32(2),
            "buttons": np.array([1, 0, 1], np.int32),
        }
    )
    action = env.action
    assert action["move"].tolist() == [1.0, 10.0]
    assert action["keys"].tolist() == [1, 3]
    assert action["menu"][0] == 6
    assert action["menu"][1].tolist() == [1, 2]
    assert action["buttons"].tolist() == [1, 0, 1]


def test_the_environment_with_every_space_keeps_the_contract():
    assert check_env(lambda: GymnasiumEnv(Everything())) == []


def test_single_spaces_have_the_usual_names():
    def names(space):
        return [key.name for key in observation_keys(space)]

    assert names(spaces.Box(-1, 1, (3,))) == ["vector"]
    assert names(spaces.Discrete(3)) == ["vector"]
    assert names(spaces.Box(0, 255, (20, 20, 1), np.uint8)) == ["image"]
    assert names(spaces.Box(0, 255, (20, 20), np.uint8)) == ["image"]
    assert names(spaces.Tuple([spaces.Discrete(3)])) == ["observation/0"]
    assert list(action_keys(spaces.MultiDiscrete([2, 3])).spaces) == ["action/0", "action/1"]
    assert list(action_keys(spaces.Tuple([spaces.Discrete(3)])).spaces) == ["action/0"]
    nested = spaces.Dict({"action": spaces.Dict({"x": spaces.Discrete(2)})})
    assert list(action_keys(nested).spaces) == ["action/x"]


def test_matrix_multidiscrete_actions_come_back_in_shape():
    space = spaces.MultiDiscrete(np.array([[2, 3], [4, 5]]))
    keys = action_keys(space)
    action = {f"action/{i}": np.int32(i) for i in range(4)}
    assert keys.assemble(action).tolist() == [[0, 1], [2, 3]]


def test_small_integer_boxes_are_discrete_actions():
    keys = action_keys(spaces.Box(-1, 1, (3,), np.int64))
    assert keys.spaces == {"action": Space(INT, (3,), 3)}
    assert keys.assemble({"action": np.array([0, 1, 2])}).tolist() == [-1, 0, 1]
    with pytest.raises(UserError, match="with 1000001 values; use floats"):
        action_keys(spaces.Box(0, 10**6, (3,), np.int64))


def test_integer_boxes_with_uneven_bounds_are_one_key_for_each_element():
    space = spaces.Box(np.array([-1, 3]), np.array([1, 9]), dtype=np.int8)
    keys = action_keys(space)
    assert keys.spaces == {"action/0": Space(INT, (), 3), "action/1": Space(INT, (), 7)}
    action = keys.assemble({"action/0": np.int32(0), "action/1": np.int32(6)})
    assert action.tolist() == [-1, 9] and space.contains(action)
    with pytest.raises(UserError, match="with 18446744073709551616 values"):
        info = np.iinfo(np.int64)
        action_keys(spaces.Box(info.min, info.max, (1,), np.int64))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-2.0, 2.0, (2, 3, 5)),
        spaces.Box(0, 3, (2, 3, 5), np.int64),
        spaces.MultiBinary([2, 3, 5]),
        spaces.MultiDiscrete(np.full((2, 3, 5), 4)),
    ],
)
def test_actions_of_more_than_two_axes_are_flattened_and_come_back(space):
    keys = action_keys(space)
    assert keys.spaces["action"].shape == (30,)
    action = keys.assemble({"action": np.arange(30, dtype=np.float32) % 2})
    assert space.contains(action.astype(space.dtype)) and action.shape == (2, 3, 5)
    assert (action.ravel()[1:] != action.ravel()[:-1]).all()


@pytest.mark.parametrize("space", [spaces.Text(5), spaces.Sequence(spaces.Discrete(2))])
def test_unsupported_spaces_are_refused_with_the_supported_ones(space):
    with pytest.raises(UserError, match="supported are Box, Discrete"):
        action_keys(space)
    with pytest.raises(UserError, match="supported are Box, Discrete"):
        observation_keys(spaces.Dict({"x": space}))


def test_keys_of_the_same_name_are_refused():
    box = spaces.Box(-1, 1, (3,))
    twice = spaces.Dict({"a/b": box, "a": spaces.Dict({"b": box})})
    with pytest.raises(UserError, match="a/b"):
        observation_keys(twice)
    with pytest.raises(UserError, match="a/b"):
        action_keys(twice)


@pytest.mark.parametrize("task", ["gymnasium:CartPole-v1", "gymnasium:Pendulum-v1"])
def test_real_environments_keep_the_contract(task):
    assert check_env(lambda: make_env(task)) == []


def test_a_pole_that_falls_is_terminal():
    with_fall = make_env("gymnasium:CartPole-v1")
    record = with_fall.reset(3)
    while not record["is_last"]:
        record = with_fall.step({"action": np.int32(1)})
    assert record["is_terminal"]


def test_a_time_limit_is_truncation_and_not_termination():
    """A time limit learnt as a death makes the agent fear the clock (SPEC 6, continue target)."""
    registered = make_env("gymnasium:Pendulum-v1")
    ours = make_env("gymnasium:Pendulum-v1", time_limit=13)
    for env, length in ((registered, 200), (ours, 13)):
        record, steps = env.reset(0), 0
        while not record["is_last"]:
            record = env.step({"action": np.zeros(1, np.float32)})
            steps += 1
        assert steps == length
        assert not record["is_terminal"]


def test_pendulum_gets_its_own_range():
    env = make_env("gymnasium:Pendulum-v1")
    space = env.spaces.action["action"]
    assert space == Space(FLOAT, (1,))
    direct = gymnasium.make("Pendulum-v1")
    expected, _ = direct.reset(seed=5)
    assert env.reset(5)["vector"].tolist() == expected.tolist()
    expected, reward, *_ = direct.step(np.array([2.0], np.float32))
    record = env.step({"action": np.array([1.0], np.float32)})
    assert record["vector"].tolist() == expected.tolist()
    assert record["reward"] == np.float32(reward)


def test_repeat_sums_rewards_and_stops_at_the_end():
    env = make_env("gymnasium:CartPole-v1", repeat=3)
    assert env.repeat == 3
    env.reset(0)
    assert env.step({"action": np.int32(0)})["reward"] == 3.0
    total, record = 3.0, {"is_last": False}
    while not record["is_last"]:
        record = env.step({"action": np.int32(0)})
        total += record["reward"]
    single = make_env("gymnasium:CartPole-v1")
    record, steps = single.reset(0), 0
    while not record["is_last"]:
        record = single.step({"action": np.int32(0)})
        steps += 1
    assert total == steps
    assert steps % 3 != 0, "the seed must give an end inside a repeat"


def test_render_gives_a_picture_of_cartpole():
    env = make_env("gymnasium:CartPole-v1")
    env.reset(0)
    picture = env.render()
    assert picture.dtype == np.uint8 and picture.shape == (400, 600, 3)
    assert picture.std() > 0
    env.close()
    env.close()


def test_an_environment_without_rgb_array_renders_nothing():
    env = GymnasiumEnv(Everything())
    env.reset(0)
    assert env.render() is None


def test_options_reach_the_environment():
    env = make_env("gymnasium:Pendulum-v1", g=0.5)
    assert env._env.unwrapped.g == 0.5


def test_an_unknown_option_lists_the_accepted_ones():
    with pytest.raises(UserError, match=r"no option 'gg'.*did you mean 'g'.*g=10.0.*repeat=1"):
        make_env("gymnasium:Pendulum-v1", gg=3)


def test_an_unknown_id_names_the_nearest():
    with pytest.raises(UserError, match=r"'CartPol-v1'.*CartPole-v1"):
        make_env("gymnasium:CartPol-v1")
    with pytest.raises(UserError, match=r"'CartPole-v7'.*CartPole-v1"):
        make_env("gymnasium:CartPole-v7")
