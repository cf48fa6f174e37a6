"""From names to environments, and what a person reads when the name is wrong."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest

from dreamer_jax.envs.checking.episodes import check_env
from dreamer_jax.envs.registry import make_env, names_code
from dreamer_jax.errors import UserError
from dreamer_jax.types import Space

OWN = """
import dm_env
import gymnasium
import numpy as np
from dm_env import specs
from dreamer_jax.envs.testing.counting import Counting

def ours(length=5):
    return Counting(length)

def gym(limit=7):
    return gymnasium.make("CartPole-v1", max_episode_steps=limit)

class Line(dm_env.Environment):
    def __init__(self, terminal=True):
        self.terminal = terminal
    def reset(self):
        self.place = 0
        return dm_env.restart(self.observe())
    def observe(self):
        return {"place": np.float64(self.place), "nested": {"seen": np.int64(self.place)}}
    def step(self, action):
        assert action["jump"].dtype == np.int64 and action["push"].dtype == np.float64
        self.place += 1
        if self.place < 3:
            return dm_env.transition(float(action["push"][0]), self.observe())
        end = dm_env.termination if self.terminal else dm_env.truncation
        return end(5.0, self.observe())
    def observation_spec(self):
        return {"place": specs.Array((), np.float64),
                "nested": {"seen": specs.DiscreteArray(4, np.int64)}}
    def action_spec(self):
        return {"jump": specs.DiscreteArray(3, np.int64),
                "push": specs.BoundedArray((1,), np.float64, -4.0, 4.0)}

class Gears(Line):
    def step(self, action):
        self.shifted = action
        return super().step({"jump": np.int64(0), "push": np.zeros(1)})
    def action_spec(self):
        return specs.BoundedArray((2,), np.int8, -1, 5)

class Reserved(gymnasium.Env):
    action_space = gymnasium.spaces.Discrete(2)
    def __init__(self, key="reward"):
        self.observation_space = gymnasium.spaces.Dict({key: gymnasium.spaces.Discrete(3)})

def number():
    return 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "my_environments.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_environments"
    sys.modules.pop("my_environments", None)


def test_import_paths_give_any_of_the_three_interfaces(own):
    for name in ("ours", "gym", "Line"):
        assert check_env(lambda name=name: make_env(f"{own}:{name}")) == []


def test_options_go_to_the_constructor_and_the_rest_to_wrappers(own):
    env = make_env(f"{own}:ours", length=9, repeat=2, time_limit=6)
    record, steps = env.reset(0), 0
    while not record["is_last"]:
        record = env.step({"action": np.int32(0)})
        steps += 1
    assert (steps, record["index"], env.repeat) == (3, 6, 2)
    assert env.spaces.obs["index"].classes == 10


@pytest.mark.parametrize("terminal", [True, False])
def test_dm_env_ends_are_terminal_only_with_discount_zero(own, terminal):
    env = make_env(f"{own}:Line", terminal=terminal)
    env.reset(0)
    action = {"jump": np.int32(2), "push": np.array([0.5], np.float32)}
    assert env.step(action)["reward"] == 2.0
    env.step(action)
    record = env.step(action)
    assert record["is_last"] and record["is_terminal"] == terminal
    assert record["place"].tolist() == [3.0] and record["nested/seen"] == 3


def test_dm_env_integers_of_few_values_are_choices(own):
    env = make_env(f"{own}:Gears")
    assert env.spaces.action == {"action": Space(np.dtype(np.int32), (2,), 7)}
    env.reset(0)
    env.step({"action": np.array([0, 6], np.int32)})
    shifted = env._environment.shifted
    assert shifted.tolist() == [-1, 5] and shifted.dtype == np.int8


def test_environments_of_the_old_gym_are_told_what_wraps_them(tmp_path, monkeypatch):
    (tmp_path / "gym.py").write_text("class Env:\n    def reset(self): ...\n")
    (tmp_path / "an_old_one.py").write_text("import gym\ndef make():\n    return gym.Env()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "gym", raising=False)
    with pytest.raises(UserError, match=r"old package gym; wrap it by shimmy\.GymV26"):
        make_env("an_old_one:make")
    del sys.modules["gym"], sys.modules["an_old_one"]


@pytest.mark.parametrize("key", ["reward", "is_first", "log/x", "action"])
def test_reserved_observation_names_are_refused(own, key):
    with pytest.raises(UserError, match=rf"observation.*'{key}'.*rename"):
        make_env(f"{own}:Reserved", key=key)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("cartpole", "form suite:name"),
        ("atri:pong", r"'atri'.*atari"),
        ("testing:chas", r"'chas'.*chase"),
        ("dmc:cartpole_balanc", r"cartpole_balance"),
        ("atari:pon", r"pong"),
        ("my_environments:our", r"'our'.*ours"),
        ("my_environments:number", r"returned a int"),
        ("my_environments.deeper:make", r"no module 'my_environments.deeper'"),
    ],
)
@pytest.mark.usefixtures("own")
def test_wrong_names_are_named_with_the_nearest_right_ones(task, message):
    with pytest.raises(UserError, match=message):
        make_env(task)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            "testing:counting",
            r"no option 'lenght' \(did you mean 'length'\?\).*length=5, actions=3",
        ),
        ("atari:pong", r"sticky=True.*noops=30"),
        ("dmc:cartpole_balance", r"fast_render=False"),
        ("my_environments:ours", r"accepts length=5"),
    ],
)
@pytest.mark.usefixtures("own")
def test_unknown_options_list_the_accepted_ones(task, message):
    with pytest.raises(UserError, match=message):
        make_env(task, lenght=3)


@pytest.mark.parametrize(
    ("task", "package", "extra"),
    [
        ("atari:pong", "ale_py", "atari"),
        ("dmc:cartpole_balance", "dm_control", "dmc"),
        ("gymnasium:CartPole-v1", "gymnasium", "classic"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(task, package, extra):
    program = f"""
        import sys
        sys.modules[{package!r}] = None
        from dreamer_jax.envs.registry import make_env, names_code
        from dreamer_jax.errors import UserError
        try:
            make_env({task!r})
        except UserError as error:
            assert {package!r} in str(error), error
            assert 'pip install "dreamer-jax[{extra}]"' in str(error), error
        else:
            raise SystemExit("no error")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)


def test_a_package_missing_in_somebodys_own_module_is_their_traceback(tmp_path, monkeypatch):
    (tmp_path / "my_broken.py").write_text("import surely_not_installed\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="surely_not_installed"):
        make_env("my_broken:make")


def test_a_suite_imports_no_other_suites_packages_and_no_jax():
    program = """
        import sys
        from dreamer_jax.envs.registry import make_env, names_code
        suites = {"gymnasium", "ale_py", "dm_control", "dm_env", "scipy"}
        loaded = lambda: ({"jax"} | suites) & set(sys.modules)
        assert not loaded(), loaded()
        make_env("testing:mixed")
        assert not loaded(), loaded()
        make_env("gymnasium:CartPole-v1")
        assert loaded() == {"gymnasium"}, loaded()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)


EMPTY = """
import gymnasium
import numpy as np
from gymnasium import spaces

class Made(gymnasium.Env):
    def __init__(self, seen, acted=spaces.Discrete(2)):
        self.observation_space, self.action_space = seen, acted

    def reset(self, *, seed=None, options=None): ...

nothing = spaces.Box(-1, 1, (0,))
box = lambda: Made(nothing)
names = lambda: Made(spaces.Dict())
still = lambda: Made(spaces.Discrete(3), nothing)
idle = lambda: Made(spaces.Discrete(3), spaces.Dict())
partly = lambda: Made(spaces.Dict(a=nothing, b=spaces.Discrete(3)))
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("box", "has no observation: 'vector' has no elements"),
        ("names", "has no observation: there are no keys"),
        ("still", "has no action: 'action' has no elements"),
        ("idle", "has no action: there are no keys"),
    ],
)
def test_nothing_to_see_or_to_do_is_said_before_training(name, message, tmp_path, monkeypatch):
    """Symptom: a division by zero in training, nothing in `check`. Cause: no look at the sizes."""
    (tmp_path / "my_empty.py").write_text(EMPTY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_empty", raising=False)
    with pytest.raises(UserError, match=f"my_empty:{name} {message}"):
        make_env(f"my_empty:{name}")
    assert make_env("my_empty:partly").spaces.obs["a"].shape == (0,)
    del sys.modules["my_empty"]


@pytest.mark.parametrize(
    ("task", "code"),
    [
        ("gymnasium:CartPole-v1", False),
        ("gymnasium:ALE/Pong-v5", False),
        ("gymnasium:my_module:MyEnv-v0", True),
        ("testing:counting", False),
        ("device:chase", False),
        ("minigrid:MiniGrid-Empty-5x5-v0", False),
        ("my_module:make", True),
        ("package.module:Class", True),
        ("dreamer_jax.envs.testing.counting:Counting", True),
        ("unknown", True),
        ("", True),
    ],
)
def test_tasks_that_run_code_are_told_from_those_of_a_suite(task, code):
    """A config.json that somebody sends may name any module; Gymnasium imports what an id names."""
    assert names_code(task) is code
