"""Environments in Ray actors: the same records as here, and lost actors replaced."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from dreamer_jax.envs.adapters.actions import random_actions
from dreamer_jax.envs.faults import EnvironmentFault, FaultPolicy
from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.vector.vector_env import VectorEnv, episode_seed
from dreamer_jax.errors import UserError

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    # Ray leaves its log files to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning"),
]
NUMBER, SEED = 5, 7


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """Give this machine's Ray two cores, so that actors have several environments each."""
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    yield
    ray.shutdown()


def play(env: VectorEnv, steps: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [env.step(random_actions(env.spaces.action, rng, env.number)) for _ in range(steps)]


def same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> bool:
    return ours.keys() == theirs.keys() and all(
        ours[key].dtype == theirs[key].dtype and ours[key].tobytes() == theirs[key].tobytes()
        for key in ours
    )


@pytest.mark.parametrize("task", ["testing:mixed", "testing:counting"])
def test_records_are_those_of_this_process(task):
    make = functools.partial(make_env, task)
    with (
        VectorEnv(make, NUMBER, seed=SEED, workers="inline") as here,
        VectorEnv(make, NUMBER, seed=SEED, workers="ray") as there,
    ):
        assert there.mode_reason == "in 2 Ray actors (asked for)"
        assert not there._group.has_jax
        assert same(here.reset(), there.reset())
        before = play(there, 1)[0]
        kept = {key: value.copy() for key, value in before.items()}
        assert same(play(here, 1)[0], before)
        assert all(map(same, play(here, 30), play(there, 30)))
        assert same(kept, before)  # records belong to the caller
        if (picture := here.render(3)) is not None:
            np.testing.assert_array_equal(picture, there.render(3))


def test_a_saved_run_goes_on_with_the_same_records():
    make = functools.partial(make_env, "testing:mixed")
    with VectorEnv(make, NUMBER, seed=SEED, workers="ray") as env:
        env.reset()
        play(env, 9)
        state = env.state()
        expected = play(env, 12, seed=1)
    with VectorEnv(make, NUMBER, seed=SEED, workers="ray") as env:
        assert env.load_state(state) == []
        assert all(map(same, expected, play(env, 12, seed=1)))


LOST = {
    "raise": r"(?s)environment 3 failed.*flaky\.py.*the simulator broke",
    "kill": r"(?s)environments 2 to 4 failed.*the actor died",
    "hang": r"(?s)environments 2 to 4 failed.*did not answer in time",
}


@pytest.mark.parametrize("fault", LOST)
def test_a_lost_actor_is_replaced_until_there_are_too_many(fault):
    bad = episode_seed(SEED, 0, 3, 0)
    # Only the first episode of that environment fails, for it alone has this divisor.
    make = functools.partial(make_env, "testing:flaky", fault=fault, every=bad)
    policy = FaultPolicy(timeout=5.0, restarts=1)
    zeros = {"action": np.zeros(NUMBER, np.int32)}
    with VectorEnv(make, NUMBER, seed=SEED, workers="ray", faults=policy) as env:
        records = [env.reset(), *(env.step(zeros) for _ in range(8))]
        assert env.restarts == 1
        hit = [3] if fault == "raise" else [2, 3, 4]
        again = next(k for k, record in enumerate(records) if k and record["is_first"][3])
        for i in range(NUMBER):
            starts = [k for k, record in enumerate(records) if record["is_first"][i]]
            assert starts == ([0, again, again + 6] if i in hit else [0, 6])[: len(starts)]
            assert len(starts) >= 2
        env._episodes[3], env._ended[3] = -1, True  # the same episode again
        with pytest.raises(EnvironmentFault, match=LOST[fault]):
            for _ in range(3):
                env.step(zeros)


def test_what_a_person_can_mend_is_said_in_their_words():
    make = functools.partial(make_env, "testing:mixed", length=4, sice=3)
    with pytest.raises(UserError, match=r"testing:mixed has no option 'sice' \(did you mean"):
        VectorEnv(make, NUMBER, seed=SEED, workers="ray")
