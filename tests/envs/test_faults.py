"""Environments that raise, hang or die: their episodes end, all others go on, nothing is invented.

`Flaky` fails as a function of its seed, so that what has to be recorded can be computed here.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest

from dreamer_jax.config import load_config
from dreamer_jax.envs.faults import EnvironmentFault, FaultPolicy
from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.testing.flaky import Flaky
from dreamer_jax.envs.vector import placement
from dreamer_jax.envs.vector.vector_env import VectorEnv, episode_seed
from dreamer_jax.errors import UserError

LENGTH, EVERY, SEED, NUMBER = 5, 5, 7, 3
ZEROS = {"action": np.zeros(NUMBER, np.int32)}


def make(fault="raise", **options):
    return functools.partial(make_env, "testing:flaky", fault=fault, every=EVERY, **options)


def seed_of(record, i):
    high, low = record["seed"][i].astype(int)
    return int(high) * 65536 + int(low)


def expected(steps, lost):
    """Return (episode, index) of each record of an environment, `lost` its episodes cut at 2."""
    timeline, episode, index = [], 0, 0
    for _ in range(steps):
        timeline.append((episode, index))
        ends = index == LENGTH
        index += 1
        if ends or (index == 2 and episode in lost):
            episode, index = episode + 1, 0
    return timeline


def failing(i, episodes=8):
    """Return the episodes of an environment in which it fails."""
    return [k for k in range(episodes) if episode_seed(SEED, 0, i, k) % EVERY == 0]


def seen(records, i):
    episodes = {episode_seed(SEED, 0, i, k): k for k in range(30)}
    return [(episodes[seed_of(record, i)], int(record["index"][i])) for record in records]


def check_records(records, i, lost):
    assert seen(records, i) == expected(len(records), lost)
    for record in records:
        index = record["index"][i]
        assert record["is_first"][i] == (index == 0)
        assert record["is_last"][i] == (index == LENGTH)
        assert record["reward"][i] == index * 3


def test_an_environment_that_raises_starts_its_next_episode_in_the_same_step():
    said = []
    with VectorEnv(make(), NUMBER, seed=SEED, workers="inline", warn=said.append) as env:
        records = [env.reset(), *(env.step(ZEROS) for _ in range(30))]
        lost = [failing(i) for i in range(NUMBER)]
        for i in range(NUMBER):
            check_records(records, i, lost[i])
        happened = sum(
            k in lost[i] for i in range(NUMBER) for k, index in expected(31, lost[i]) if index == 1
        )
        assert env.restarts == len(said) == happened > 2
    assert said[0].endswith(
        "ZeroDivisionError: the simulator broke; episode closed, next one begun (failure 1 of 100)"
    )


FIRST_FAILURE = 3  # environment; its worker also runs the one before it
CASES = {
    "raise": ("inline", r"(?s)environment 3 failed.*flaky\.py.*the simulator broke"),
    "exit": ("inline", r"(?s)environment 3 failed.*flaky\.py.*SystemExit: the simulator left"),
    "raise in a worker": ("process", r"(?s)environment 3 failed.*flaky\.py.*simulator broke"),
    "die": ("process", r"(?s)environments 2 to 3 failed.*flaky\.py.*died with exit code -11"),
    "kill": ("process", r"(?s)environments 2 to 3 failed.*died with exit code -9"),
    "hang": ("process", r"(?s)environments 2 to 3 failed.*flaky\.py.*did not answer in time"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_failure_is_survived_until_there_are_too_many(name, monkeypatch):
    """The stop carries the traceback of the environment, from wherever it ran."""
    monkeypatch.setattr(placement, "cores", lambda: 2)
    workers, message = CASES[name]
    bad = episode_seed(SEED, 0, FIRST_FAILURE, 0)
    policy = FaultPolicy(timeout=2.0, restarts=1)
    # Only the first episode of that environment fails, for it alone has this divisor.
    task = functools.partial(make_env, "testing:flaky", fault=name.split()[0], every=bad)
    with VectorEnv(task, 4, seed=SEED, workers=workers, faults=policy) as env:
        zeros = {"action": np.zeros(4, np.int32)}
        records = [env.reset(), *(env.step(zeros) for _ in range(9))]
        whole_worker = name in ("die", "kill", "hang")
        for i in range(4):
            hit = i == FIRST_FAILURE or (i == 2 and whole_worker)
            check_records(records, i, [0] if hit else [])
        assert env.restarts == 1
        # The same episode again, as if it came later.
        env._episodes[FIRST_FAILURE] = -1
        env._ended[FIRST_FAILURE] = True
        with pytest.raises(EnvironmentFault, match=message):
            for _ in range(3):
                env.step(zeros)


def test_a_run_resumed_after_a_failure_goes_on_bit_for_bit():
    with VectorEnv(make(), NUMBER, seed=SEED, workers="inline") as env:
        env.reset()
        while env.restarts < 2:
            env.step(ZEROS)
        env.step(ZEROS)
        state = env.state()
        went_on = [env.step(ZEROS) for _ in range(25)]
        restarts = env.restarts
    with VectorEnv(make(), NUMBER, seed=SEED, workers="inline") as env:
        assert env.load_state(state) == [] and env.restarts == 2
        again = [env.step(ZEROS) for _ in range(25)]
        assert env.restarts == restarts > 2
    for ours, theirs in zip(went_on, again, strict=True):
        assert {k: v.tobytes() for k, v in ours.items()} == {
            k: v.tobytes() for k, v in theirs.items()
        }


def test_a_worker_that_died_between_steps_is_noticed_by_the_next_and_no_obstacle_to_a_save():
    with VectorEnv(make(), NUMBER, seed=SEED, workers="process") as env:
        env.reset()
        env.step(ZEROS)
        for worker in env._group._workers:
            worker.process.kill()
            worker.process.join()
        state = env.state()
        assert env.render(0) is None
        assert env.restarts == 0 and env.step(ZEROS)["is_first"].all()
        assert env.restarts == len(env._group._workers)
    with VectorEnv(make(), NUMBER, seed=SEED, workers="process") as env:
        for worker in env._group._workers:
            worker.process.kill()
            worker.process.join()
        assert env.load_state(state) == list(range(NUMBER))
        assert env.step(ZEROS)["is_first"].all()


def test_an_episode_that_fails_while_it_is_brought_back_is_reported_as_lost():
    """A flaky simulator made the run impossible to resume."""
    with VectorEnv(make(), NUMBER, seed=SEED, workers="inline") as env:
        env.reset()
        for _ in range(3):
            env.step(ZEROS)
        state = env.state()
    every = episode_seed(SEED, 0, 1, state["environments"][1]["episode"])
    task = functools.partial(make_env, "testing:flaky", every=every)
    with VectorEnv(task, NUMBER, seed=SEED, workers="inline") as env:
        assert env.load_state(state) == [1]
        record = env.step(ZEROS)
        assert record["is_first"].tolist() == [False, True, False]


def test_building_again_may_fail_too_and_counts():
    built = itertools.count()

    def build():
        number = next(built)
        if NUMBER <= number < NUMBER + 2:
            raise OSError("no display")
        return Flaky("raise", EVERY)

    said = []
    with VectorEnv(build, NUMBER, seed=SEED, workers="inline", warn=said.append) as env:
        env.reset()
        while not env.restarts:
            record = env.step(ZEROS)
        assert env.restarts == 3 and "no display" in said[1] and "no display" in said[2]
        (index,) = {int(line.split(":")[0].split()[-1]) for line in said}
        episode = env.state()["environments"][index]["episode"]
        assert record["is_first"][index]
        assert seed_of(record, index) == episode_seed(SEED, 0, index, episode)


def test_other_spaces_after_building_again_stop_the_run():
    lengths = itertools.chain([5] * NUMBER, itertools.repeat(7))
    build = lambda: Flaky("raise", EVERY, next(lengths))
    with VectorEnv(build, NUMBER, seed=SEED, workers="inline") as env:
        env.reset()
        with pytest.raises(UserError, match=r"different spaces \(index\)"):
            for _ in range(30):
                env.step(ZEROS)


def test_a_failed_environment_is_closed():
    closed = []

    class Closing(Flaky):
        def close(self):
            closed.append(self._index)
            raise OSError("cannot even be closed")

    env = VectorEnv(lambda: Closing("raise", EVERY), NUMBER, seed=SEED, workers="inline")
    env.reset()
    while not env.restarts:
        env.step(ZEROS)
    assert closed == [2]


@pytest.mark.parametrize(
    ("key", "value"),
    [("timeout", 0.0), ("timeout", 1e9), ("restarts", -1), ("invalid_values", "skip")],
)
def test_senseless_policies_are_refused(key, value):
    config = load_config("default")
    config.faults[key] = value
    with pytest.raises(UserError, match=rf"config\.faults\.{key}={value!r}"):
        FaultPolicy.from_config(config.faults)
