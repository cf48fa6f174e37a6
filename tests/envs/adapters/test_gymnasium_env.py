"""Gymnasium environments, real ones and one with every kind of space."""

from __future__ import annotations

import copy
import sys
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from dreamer_jax.envs.adapters.gymnasium_env import GymnasiumEnv
from dreamer_jax.envs.adapters.gymnasium_spaces import action_keys, observation_keys
from dreamer_jax.envs.adapters.wrappers import wrap
from dreamer_jax.envs.checking.episodes import check_env
from dreamer_jax.envs.registry import make_env
from dreamer_jax.errors import InvalidValueError, RecordError, UserError
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
    """A time limit learnt as a death makes the agent fear the clock (docs/algorithm.md 6)."""
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


class Told(gymnasium.Env):
    """Returns what it is told to."""

    def __init__(self, observation=0.0, step=(0.0, False, False, {}), space=None, action=None):
        self.observation_space = space or spaces.Box(-9, 9, ())
        self.action_space = action or spaces.Discrete(2)
        self.told, self.after = observation, step

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed, options=options)
        return self.observation_space.sample(), {}

    def step(self, action):
        self.action = action
        return self.told, *self.after


@pytest.mark.parametrize(
    ("space", "value"),
    [
        (spaces.Box(-500, 500, (2,), np.int64), np.array([0.9, -0.9])),
        (spaces.Box(-1, 1, (2,), np.int64), np.array([0.9, -0.9])),
        (spaces.Discrete(3), 1.7),
        (spaces.MultiDiscrete([3, 3]), np.array([1.0, 0.5])),
        (spaces.MultiDiscrete([3, 4]), np.array([1.0, 0.5])),
        (spaces.MultiBinary(2), np.array([1.0, 0.5])),
    ],
)
def test_a_fraction_in_a_space_of_integers_is_an_error(space, value):
    """Symptom: 0.9 was recorded as 0, 1.7 as 1. Cause: cast without a look at the values."""
    env = GymnasiumEnv(Told(value, space=space))
    env.reset(0)
    with pytest.raises(InvalidValueError, match=r"'vector\S*' holds \d\.\d, which int32 cannot"):
        env.step({"action": np.int32(0)})


@pytest.mark.parametrize(
    "action", [spaces.Box(5, np.inf, (1,)), spaces.Dict(action=spaces.Box(5, np.inf, (1,)))]
)
def test_missing_bounds_of_actions_are_told_through_wrappers(action):
    told = Told(action=action)
    env = wrap(GymnasiumEnv(told), repeat=2, time_limit=7)
    (note,) = env.notes
    assert note.startswith("action 'action' lacks a bound; the agent acts in 5 … 7;")
    env.step({"action": np.array([0.0], np.float32)})
    got = told.action["action"] if isinstance(action, spaces.Dict) else told.action
    assert got.tolist() == [6.0]
    assert GymnasiumEnv(Told()).notes == []


@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize(
    ("method", "returned", "found"),
    [
        ("step", (0.0, 1.0, False, {}), "Gym before 0.26"),
        ("step", None, "Gym before 0.26"),
        ("reset", np.zeros(3), "observation, info"),
        ("reset", 0.0, "observation, info"),
    ],
)
def test_another_interface_is_said_in_words(method, returned, found, limited, monkeypatch):
    monkeypatch.setattr(Told, method, lambda *_, seed=None, options=None: returned)  # noqa: ARG005
    told = Told()
    env = GymnasiumEnv(gymnasium.wrappers.TimeLimit(told, 7) if limited else told)
    with pytest.raises(UserError, match=rf"{method} of Told returns .*{found}"):
        if method == "step":
            env.reset(0)
        env.reset(0) if method == "reset" else env.step({"action": np.int32(0)})


def test_a_simulators_own_error_of_unpacking_is_its_own():
    class Broken(Told):
        def step(self, action):
            first, second = [action]
            return first, second

    env = GymnasiumEnv(Broken())
    env.reset(0)
    with pytest.raises(ValueError, match="not enough values") as raised:
        env.step({"action": np.int32(0)})
    assert not isinstance(raised.value, UserError)


def test_a_reset_without_a_seed_is_refused_at_once():
    class Unseeded(Told):
        def reset(self):
            return 0.0, {}

    for env in (Unseeded(), gymnasium.wrappers.TimeLimit(Unseeded(), 7)):
        with pytest.raises(
            UserError, match="reset of Unseeded takes no seed; Gymnasium's is reset"
        ):
            GymnasiumEnv(env)


def test_a_reset_without_options_is_refused_where_wrappers_give_them():
    class Optionless(Told):
        def reset(self, seed=None):  # noqa: ARG002
            return 0.0, {}

    GymnasiumEnv(Optionless()).reset(0)
    with pytest.raises(UserError, match="reset of Optionless takes no options"):
        GymnasiumEnv(gymnasium.wrappers.TimeLimit(Optionless(), 7))


def test_a_reward_that_is_no_number_is_said():
    env = GymnasiumEnv(Told(0.0, (np.zeros(2), False, False, {})))
    env.reset(0)
    with pytest.raises(RecordError, match=r"the reward is float64 \(2,\), not one number"):
        env.step({"action": np.int32(0)})


@pytest.mark.parametrize(
    "name", [" ", "CartPole-v1 ", "CartPole", "../x", "a/b/c-v1", "Cart Pole-v1"]
)
def test_a_malformed_id_is_unknown(name):
    """Symptom: a traceback. Cause: Gymnasium raises its base class for these."""
    with pytest.raises(UserError, match=rf"unknown gymnasium id '{name}'"):
        make_env(f"gymnasium:{name}")


MODULE = """
import gymnasium

class Own(gymnasium.Env):
    observation_space = gymnasium.spaces.Discrete(3)
    action_space = gymnasium.spaces.Discrete(2)

class Needy(Own):
    def __init__(self):
        import surely_not_installed

gymnasium.register("MyOwn-v0", entry_point=Own)
gymnasium.register("MyNeedy-v0", entry_point="registering_module:Needy")
"""


@pytest.fixture
def registering(tmp_path, monkeypatch):
    (tmp_path / "registering_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    yield "gymnasium:registering_module"
    sys.modules.pop("registering_module", None)


def test_a_module_before_the_id_registers_it(registering):
    """Symptom: an unknown id. Cause: the module was never imported, and a class is no string."""
    assert make_env(f"{registering}:MyOwn-v0").spaces.obs == {"vector": Space(INT, (), 3)}
    with pytest.raises(UserError, match="no module 'surely_missing' to register 'MyOwn-v0'"):
        make_env("gymnasium:surely_missing:MyOwn-v0")


def test_a_missing_package_is_named_with_what_brings_it(registering, monkeypatch):
    """Symptom: MuJoCo's tasks were told to install classic control. Cause: one extra for all."""
    monkeypatch.setitem(sys.modules, "imageio", None)
    with pytest.raises(UserError, match=r"needs the package 'imageio'.*\"gymnasium\[mujoco\]\""):
        make_env("gymnasium:Ant-v5")
    with pytest.raises(UserError, match=r"'surely_not_installed'.*: pip install surely_not_inst"):
        make_env(f"{registering}:MyNeedy-v0")


@pytest.mark.parametrize("limit", ["soon", 0, -3, 2.5, True])
def test_a_senseless_time_limit_is_refused(limit):
    with pytest.raises(
        UserError, match=f"time_limit is {limit!r}; an episode has at least one step"
    ):
        make_env("gymnasium:CartPole-v1", time_limit=limit)
