"""Device environments behind the host's interface, and what `check` says of broken ones."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_jax.__main__ import run
from dreamer_jax.device_envs.chase import Chase
from dreamer_jax.device_envs.host import HostEnv, _step
from dreamer_jax.device_envs.protocol import DeviceEnv, signals
from dreamer_jax.envs.checking.episodes import check_env
from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.spec import Env
from dreamer_jax.errors import UserError
from dreamer_jax.types import Space, Spaces

pytestmark = pytest.mark.usefixtures("cheap_compile")


@dataclass(frozen=True)
class Walk(DeviceEnv):
    """A point that is pushed, with noise; one thing about it may be broken."""

    fault: str = ""

    @property
    def spaces(self) -> Spaces:
        floats = np.dtype(np.float32)
        return Spaces({"place": Space(floats, (2,))}, {"push": Space(floats, (2,))})

    def reset(self, key):
        state = {"place": jnp.zeros(2), "key": key, "index": jnp.int32(0)}
        record = {"place": state["place"]} | signals(is_first=self.fault != "no is_first")
        if self.fault == "no place":
            del record["place"]
        return state, record

    def step(self, state, action):
        key, noise_key = jax.random.split(state["key"])
        push = jnp.clip(action["push"], -1, 1) + jax.random.normal(noise_key, (2,))
        place, index = state["place"] + push, state["index"] + 1
        if self.fault == "counts in floats":
            index = index.astype(jnp.float32)
        reward = jnp.where(index > 2, jnp.nan, 0.0) if self.fault == "NaN" else push.sum()
        record = {"place": place} | signals(reward, is_last=index >= 5)
        if self.fault == "unknown key":
            record["speed"] = push
        if self.fault == "half floats":
            record["place"] = place.astype(jnp.float16)
        return {"place": place, "key": key, "index": index}, record


@pytest.fixture
def own_module(monkeypatch):
    module = type(sys)("my_device_environments")
    module.Walk = Walk
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.__name__


def test_import_paths_give_device_environments(own_module):
    env = make_env(f"{own_module}:Walk")
    assert isinstance(env, Env) and env.device_env == Walk()
    assert check_env(lambda: make_env(f"{own_module}:Walk")) == []


def test_check_command_takes_them(own_module, capsys):
    assert run(["check", "device:chase"]) == 0
    assert run(["check", f"{own_module}:Walk"]) == 0
    out = capsys.readouterr().out
    assert "action push: 2 float32" in out and out.endswith("the contract is kept\n")


def test_wrappers_apply(own_module):
    env = make_env(f"{own_module}:Walk", repeat=2, time_limit=4)
    env.reset(3)
    ends = [env.step({"push": np.zeros(2, np.float32)})["is_last"] for _ in range(2)]
    assert ends == [False, True] and not hasattr(env, "device_env")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no place", r"Walk.reset: 'place' of its record is missing; the contract says float32\[2"),
        ("half floats", r"Walk.step: 'place' of its record is float16\[2\]; .* says float32\[2\]"),
        ("unknown key", r"Walk.step: 'speed' .* is float32\[2\]; .* there is no such key"),
        ("counts in floats", r"state differs .* at \['index'\] \(int32\[\] and float32\[\]\)"),
    ],
)
def test_wrong_types_are_named_before_anything_runs(fault, message):
    with pytest.raises(UserError, match=message):
        HostEnv(Walk(fault))


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("no is_first", "is_first is not set on the reset record"),
        ("NaN", "'reward' holds values that are not finite"),
    ],
)
def test_wrong_values_are_found_by_the_check(fault, problem):
    assert check_env(lambda: HostEnv(Walk(fault)), episodes=1) == [problem]


def test_what_was_not_reported_is_not_in_the_record():
    env = HostEnv(Chase())
    assert "log/caught" not in env.reset(0)
    assert env.step({"action": np.int32(0)})["log/caught"] in (0, 1)


def test_equal_environments_share_their_programs():
    compiled = _step._cache_size()
    for _ in range(3):
        env = HostEnv(Chase(cells=5, length=13))
        env.reset(0)
        env.step({"action": np.int32(0)})
    assert _step._cache_size() == compiled + 1


def test_snapshots_bring_back_the_episode_with_its_randomness():
    one, two = HostEnv(Walk()), HostEnv(Walk())
    action = {"push": np.array([0.25, -3.0], np.float32)}
    one.reset(7), one.step(action)
    two.restore(one.snapshot())
    for _ in range(3):
        ours, theirs = one.step(action), two.step(action)
        assert {k: v.tobytes() for k, v in ours.items()} == {
            k: v.tobytes() for k, v in theirs.items()
        }
