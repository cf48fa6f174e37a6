"""dm_env's interface: rewards, bounds and types that have no meaning here."""

from __future__ import annotations

import numpy as np
import pytest

dm_env = pytest.importorskip("dm_env")

from dm_env import specs  # noqa: E402

from dreamer_jax.envs.adapters.dm_environment import DmEnvironment  # noqa: E402
from dreamer_jax.errors import InvalidValueError, RecordError  # noqa: E402


class Told(dm_env.Environment):
    """Returns the reward and the observation that it is told to."""

    def __init__(self, reward=0.0, observed=0):
        self.reward, self.observed = reward, observed

    def reset(self):
        return dm_env.restart(np.int64(0))

    def step(self, action):
        self.action = action
        return dm_env.transition(self.reward, self.observed)

    def observation_spec(self):
        return specs.Array((), np.int64)

    def action_spec(self):
        return specs.BoundedArray((2,), np.float64, [5.0, -1.0], [np.inf, 1.0])


PUSH = {"action": np.array([-1.0, 0.5], np.float32)}


def test_a_missing_bound_is_told_and_costs_no_part_of_the_range():
    told = Told()
    env = DmEnvironment(told)
    (note,) = env.notes
    assert note.startswith("action 'action' lacks bounds of 1 of 2 elements; the agent acts in 5 …")
    env.reset(0)
    env.step({"action": np.array([1.0, 0.5], np.float32)})
    assert told.action.tolist() == [7.0, 0.5]


def test_a_reward_for_each_of_several_agents_is_said():
    env = DmEnvironment(Told(reward=np.zeros(3)))
    env.reset(0)
    with pytest.raises(RecordError, match=r"the reward is float64 \(3,\), not one number"):
        env.step(PUSH)


def test_no_reward_is_zero():
    env = DmEnvironment(Told(reward=None))
    env.reset(0)
    assert env.step(PUSH)["reward"] == 0


def test_a_fraction_where_the_spec_says_integers_is_an_error():
    env = DmEnvironment(Told(observed=0.5))
    env.reset(0)
    with pytest.raises(InvalidValueError, match=r"holds 0\.5, which int32 cannot hold"):
        env.step(PUSH)
