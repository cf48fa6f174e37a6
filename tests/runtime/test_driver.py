"""The driver pairs observations and actions; seen through replay and the learner's batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest
from tiny_run import tiny_run

from dreamer_jax.config import find_size
from dreamer_jax.device.compiled import Compiled, compile_agent, to_host
from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.testing.counting import Counting
from dreamer_jax.envs.vector.vector_env import VectorEnv
from dreamer_jax.replay import to_columns
from dreamer_jax.runtime.assemble import make_replay
from dreamer_jax.runtime.driver import Driver
from dreamer_jax.runtime.environments import Environments
from dreamer_jax.runtime.learner import Learner
from dreamer_jax.types import Record

pytestmark = pytest.mark.usefixtures("cheap_compile")

TASK, LENGTH, ACTIONS = "testing:counting", 5, 3
CONFIG = tiny_run(TASK)


@pytest.fixture(scope="module")
def compiled(cheap_compile: None) -> Compiled:  # noqa: ARG001
    env = make_env(TASK)
    return compile_agent(CONFIG, find_size(CONFIG.size), env.spaces)


@pytest.fixture(scope="module")
def params(compiled: Compiled) -> Any:
    return compiled.acting(compiled.init())


@pytest.fixture
def envs() -> Iterator[VectorEnv]:
    with VectorEnv(partial(make_env, TASK), CONFIG.envs, seed=7, workers="inline") as envs:
        yield envs


class Tape:
    """Keeps what the driver inserts."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.latents: list[Mapping[str, np.ndarray]] = []

    def __call__(self, records: Record, latents: Mapping[str, np.ndarray]) -> None:
        assert latents and all(len(value) == CONFIG.envs for value in latents.values())
        self.records.append(records)
        self.latents.append(latents)

    def __getitem__(self, key: str) -> np.ndarray:
        return np.stack([record[key] for record in self.records])  # [steps, E, ...]


def spy_choices(compiled: Compiled, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Return a list that fills with the actions `[E]` of every call of the policy."""
    policy, chosen = compiled.policy, []

    def spied(*args: Any, **options: Any) -> Any:
        result = policy(*args, **options)
        chosen.append(to_host(result[1])["action"])
        return result

    monkeypatch.setattr(compiled, "policy", spied)
    return chosen


def test_batches_pair_each_record_with_the_action_chosen_after_it(compiled, params, envs):
    """Shifted by one, losses would still fall: neighbouring records are alike.

    The environment encodes (index, action before it) in the reward.
    """
    replay = make_replay(CONFIG, Environments(envs), compiled.latent_spaces())
    driver, learner = Driver(envs, compiled, replay.add), Learner(compiled, replay)
    for _ in range(40):
        driver.step(params)
    pairs = ends = 0
    for _ in range(20):
        records = to_host(learner.gather()[0].records)
        first, last = records.is_first, records.is_last
        index, action, reward = records.obs["index"], records.action["action"], records.reward
        inside = ~first[:, 1:]
        expected = index[:, 1:] * ACTIONS + action[:, :-1]
        np.testing.assert_array_equal(reward[:, 1:][inside], expected[inside])
        np.testing.assert_array_equal(index[:, 1:][inside], index[:, :-1][inside] + 1)
        same_episode = (records.obs["seed"][:, 1:] == records.obs["seed"][:, :-1]).all(-1)
        np.testing.assert_array_equal(same_episode, inside)
        assert (action[last] == 0).all() and (index[last] == LENGTH).all()
        assert (reward[first] == 0).all() and (index[first] == 0).all()
        terminal = (records.obs["seed"][..., 1] % 2 == 1) & last
        np.testing.assert_array_equal(records.is_terminal, terminal)
        pairs, ends = pairs + int((action[:, :-1][inside] > 0).sum()), ends + int(last.sum())
    assert pairs > 20 and ends > 20


def test_an_episode_that_failed_is_replayed_as_truncated(compiled, params):
    """The failed step left no record; a terminal flag or a joined window would be invented."""
    task = partial(make_env, "testing:flaky", every=2)
    with VectorEnv(task, CONFIG.envs, seed=7, workers="inline") as envs:
        replay = make_replay(CONFIG, Environments(envs), compiled.latent_spaces())
        driver, learner = Driver(envs, compiled, replay.add), Learner(compiled, replay)
        ended = [episode for _ in range(60) for _, episode in driver.step(params)]
        restarts = envs.restarts
        steps = driver.policy_steps
    assert {episode.length for episode in ended} == {LENGTH}
    assert restarts > 10 and LENGTH * len(ended) + restarts <= steps < 60 * CONFIG.envs
    cut = 0
    for _ in range(20):
        records = to_host(learner.gather()[0].records)
        index, first, last = records.obs["index"], records.is_first, records.is_last
        np.testing.assert_array_equal(last[:, :-1], first[:, 1:])
        broken = last & (index != LENGTH)
        assert (index[broken] == 1).all()
        # The target of the continue head is 1 − is_terminal.
        assert not records.is_terminal[broken].any()
        same_episode = (records.obs["seed"][:, 1:] == records.obs["seed"][:, :-1]).all(-1)
        np.testing.assert_array_equal(same_episode, ~first[:, 1:])
        cut += int(broken.sum())
    assert cut > 10


def test_action_on_the_last_record_is_zeros(compiled, params, envs, monkeypatch):
    """It leads nowhere; types.py promises zeros, whatever the policy said."""
    chosen, tape = spy_choices(compiled, monkeypatch), Tape()
    driver = Driver(envs, compiled, tape)
    for _ in range(40):
        driver.step(params)
    last, stored = tape["is_last"], tape["action/action"]
    assert (np.stack(chosen)[last] > 0).any()
    assert (stored[last] == 0).all()
    np.testing.assert_array_equal(stored[~last], np.stack(chosen)[~last])


def test_environments_receive_the_actions_that_are_stored(compiled, params, envs):
    tape = Tape()
    driver = Driver(envs, compiled, tape)
    for _ in range(12):
        driver.step(params)
    first, reward = tape["is_first"], tape["reward"]
    before = np.concatenate([np.zeros((1, CONFIG.envs)), tape["action/action"][:-1]])
    np.testing.assert_array_equal(reward, np.where(first, 0, tape["obs/index"] * ACTIONS + before))


def test_episodes_have_their_own_score_and_length(compiled, params, envs):
    tape = Tape()
    driver, finished = Driver(envs, compiled, tape), []
    for step in range(25):
        finished += [(step, index, episode) for index, episode in driver.step(params)]
    driver.step(params)  # so that the tape holds the records of the last episodes' ends
    assert len(finished) == CONFIG.envs * (25 // (LENGTH + 1))
    for step, index, episode in finished:
        rewards = tape["reward"][step + 1 - LENGTH : step + 2, index]
        assert tape["is_last"][step + 1, index]
        assert (episode.score, episode.length, episode.logs) == (rewards.sum(), LENGTH, {})
    assert len({episode.score for _, _, episode in finished}) > 1


def test_reset_records_count_in_no_step(compiled, params, envs):
    driver = Driver(envs, compiled, None)
    for _ in range(2 * (LENGTH + 1)):
        driver.step(params)
    # The vector environment has also made the reset of the third episodes.
    assert driver.calls == 12
    assert driver.policy_steps == CONFIG.envs * 2 * LENGTH
    assert driver.tally.policy_steps == driver.policy_steps
    assert driver.repeat == envs.repeat == 1
    envs.repeat = 4
    assert Driver(envs, compiled, None).repeat == 4


class Reporting(Counting):
    """Reports its index at odd steps, and its seed's parity at the end of some episodes."""

    def _record(self, record: dict[str, Any]) -> Record:
        record = super()._record(record)
        if self._index % 2 == 1:
            record["log/odd"] = np.float32(self._index)
        if self._index == LENGTH and self._seed % 2 == 1:
            record["log/rare"] = np.float32(1)
        return record


@pytest.mark.parametrize("number", [1, CONFIG.envs])
def test_log_means_are_of_the_steps_that_reported(compiled, params, number):
    """A key that nobody reported at a reset was carried over into the next episode's mean.

    Environments that did not report it counted as having reported zero.
    """
    seen: set[bool] = set()
    with VectorEnv(Reporting, number, seed=7, workers="inline") as envs:
        tape = []
        insert = lambda records, _: tape.append(records)
        driver = Driver(envs, compiled, insert)
        for _ in range(40):
            for index, episode in driver.step(params):
                odd = tape[-1]["obs/seed"][index, 1] % 2 == 1
                seen.add(bool(odd))
                assert episode.logs == {"log/odd": 3.0} | ({"log/rare": 1.0} if odd else {})
    assert seen == {False, True}


def test_replay_stores_observations_actions_and_signals_only(envs):
    record = envs.reset() | {"log/x": np.zeros(CONFIG.envs)}
    action = {"action": np.ones(CONFIG.envs, np.int32)}
    stored = to_columns(record, action, envs.spaces)
    signals = {"reward", "is_first", "is_last", "is_terminal"}
    assert set(stored) == {"obs/index", "obs/seed", "action/action"} | signals


def run(driver: Driver, params: Any, steps: int) -> list[Any]:
    return [driver.step(params) for _ in range(steps)]


@pytest.mark.parametrize("steps", [1, 5, 8])
def test_continues_from_its_state(compiled, params, steps):
    """A carry that was lost showed in latents alone: an actor that is fresh does not read it."""
    make = lambda: VectorEnv(Reporting, CONFIG.envs, seed=7, workers="inline")
    with make() as envs, make() as others:
        one, two = Driver(envs, compiled, Tape()), Driver(others, compiled, Tape())
        run(one, params, steps)
        assert two.load_state(*one.state()) == []
        assert run(one, params, 11) == run(two, params, 11)
        for kept in ("records", "latents"):
            mine, theirs = (getattr(driver._insert, kept) for driver in (one, two))
            for ours, others in zip(mine[steps:], theirs, strict=True):
                assert {k: v.tobytes() for k, v in ours.items()} == {
                    k: v.tobytes() for k, v in others.items()
                }
        assert (one.calls, one.policy_steps) == (two.calls, two.policy_steps)


def test_episode_that_cannot_be_continued_is_closed_as_truncated(
    compiled, params, envs, monkeypatch
):
    with VectorEnv(partial(make_env, TASK), CONFIG.envs, seed=7, workers="inline") as others:
        one, tape = Driver(envs, compiled, None), Tape()
        run(one, params, 3)
        two, load_state = Driver(others, compiled, tape), others.load_state

        def lose_one(state: Mapping[str, Any]) -> list[int]:
            load_state(state)
            others._ended[1] = True
            return [1]

        monkeypatch.setattr(others, "load_state", lose_one)
        assert two.load_state(*one.state()) == [1]
        run(two, params, 2)
    assert tape["is_last"].tolist() == [[False, True, False], [False, False, False]]
    assert tape["is_first"].tolist() == [[False, False, False], [False, True, False]]
    assert not tape["is_terminal"].any() and tape["action/action"][0, 1] == 0
