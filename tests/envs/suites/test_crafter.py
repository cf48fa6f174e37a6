"""Crafter: episodes that the seed determines, pictures that change nothing, achievements."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("crafter")

from dreamer_jax.envs.checking.episodes import check_env
from dreamer_jax.envs.registry import make_env
from dreamer_jax.errors import UserError
from dreamer_jax.types import Space

COLLECT = 5  # the action "do"


def _play(env, steps, seed=0, watch=False):
    """Play random actions until an end; return the records."""
    rng = np.random.default_rng(seed)
    records = []
    for _ in range(steps):
        records.append(env.step({"action": np.int32(rng.integers(17))}))
        if watch:
            env.render()
        if records[-1]["is_last"]:
            break
    return records


def _equal(first, second):
    return len(first) == len(second) and all(
        a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)
        for a, b in zip(first, second, strict=True)
    )


def test_the_contract_is_kept():
    assert check_env(lambda: make_env("crafter:reward"), episodes=1, max_steps=40) == []


def test_spaces_are_those_of_the_benchmark():
    env = make_env("crafter:reward")
    assert env.spaces.obs == {"image": Space(np.dtype(np.uint8), (64, 64, 3))}
    assert env.spaces.action == {"action": Space(np.dtype(np.int32), (), 17)}
    assert make_env("crafter:reward", size=(72, 54)).reset(0)["image"].shape == (72, 54, 3)


@pytest.mark.parametrize("seed", [0, 1, 4])
def test_an_episode_is_a_function_of_its_seed_to_its_end(seed):
    """The package lets creatures leave in the order of a set, which is that of their addresses."""
    first, second = make_env("crafter:reward"), make_env("crafter:reward")
    second.reset(8), _play(second, 20, seed=1)
    records = [[env.reset(seed), *_play(env, 400)] for env in (first, second)]
    assert records[0][-1]["is_last"]
    assert _equal(*records)
    assert not np.array_equal(first.reset(seed + 1)["image"], records[0][0]["image"])


def test_a_picture_for_people_does_not_change_the_episode():
    """The noise of a night is drawn from the numbers that move the creatures."""
    plain, watched = make_env("crafter:reward"), make_env("crafter:reward")
    plain.reset(5), watched.reset(5)
    for env in (plain, watched):
        env._game._step = 250  # evening
    assert _equal(_play(plain, 30), _play(watched, 30, watch=True))
    assert watched.render().shape == (288, 288, 3)


def test_the_last_record_of_an_episode_names_what_it_unlocked():
    env = make_env("crafter:reward", time_limit=3)
    env.reset(0)
    env._game._player.inventory["sapling"] = 1
    first = env.step({"action": np.int32(COLLECT)})
    assert not [key for key in first if key.startswith("log/")]
    env._game._player.achievements["place_plant"] = 2
    env.step({"action": np.int32(0)})
    last = env.step({"action": np.int32(0)})
    assert last["is_last"] and not last["is_terminal"], "a time limit is no death"
    logs = {key: value for key, value in last.items() if key.startswith("log/achievement_")}
    assert len(logs) == 22
    assert logs.pop("log/achievement_place_plant") == 1
    assert set(logs.values()) <= {0, 1}


def test_death_is_terminal():
    env = make_env("crafter:reward")
    env.reset(0)
    env._game._player.health = 0
    record = env.step({"action": np.int32(0)})
    assert record["is_last"] and record["is_terminal"]


def test_without_rewards_achievements_are_counted_all_the_same():
    paid, unpaid = make_env("crafter:reward"), make_env("crafter:noreward")
    records = []
    for env in (paid, unpaid):
        env.reset(3)
        env._game._player.achievements["collect_wood"] += 1
        env._game._player.health = 0
        records.append(env.step({"action": np.int32(0)}))
    assert records[0]["reward"] == pytest.approx(1 - 0.9) and records[1]["reward"] == 0
    assert records[0]["log/achievement_collect_wood"] == 1
    assert records[1]["log/achievement_collect_wood"] == 1


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("crafter:rewards", {}, "'rewards'.*reward"),
        ("crafter:reward", {"size": (8, 64)}, "at least 9×9 pixels"),
        ("crafter:reward", {"time_limit": 0}, "at least one step"),
    ],
)
def test_what_cannot_work_is_said(task, options, message):
    with pytest.raises(UserError, match=message):
        make_env(task, **options)
