"""The self-checking environments check themselves, too."""

from __future__ import annotations

import numpy as np
import pytest

from dreamer_jax.envs.checking.episodes import check_env
from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.suites.testing import Chase, Counting, names
from dreamer_jax.errors import UserError


@pytest.mark.parametrize("name", [name for name in names() if name != "flaky"])
def test_every_one_keeps_the_contract(name):
    assert check_env(lambda: make_env(f"testing:{name}"), episodes=3) == []


@pytest.mark.parametrize(
    ("ending", "seed", "terminal"),
    [("terminal", 4, True), ("truncated", 5, False), ("both", 4, False), ("both", 5, True)],
)
def test_counting_says_where_it_is_and_what_led_there(ending, seed, terminal):
    seed += 0x12340000
    env = Counting(length=5, actions=3, ending=ending)
    record = env.reset(seed)
    assert record["seed"].tolist() == [0x1234, seed % 0x10000]
    for index, action in enumerate([2, 0, 1, 2, 1], start=1):
        assert not record["is_last"]
        record = env.step({"action": np.int32(action)})
        assert record["index"] == index
        assert divmod(int(record["reward"]), 3) == (index, action)
    assert record["is_last"] and record["is_terminal"] == terminal
    with pytest.raises(RuntimeError, match="after is_last"):
        env.step({"action": np.int32(0)})


def _score(env, policy, episodes=300):
    total = 0.0
    for seed in range(episodes):
        record = env.reset(seed)
        while not record["is_last"]:
            record = env.step({"action": np.int32(policy(record))})
            total += record["reward"]
    return total / episodes


def test_chase_rewards_the_shortest_path_and_random_play_gets_a_third():
    rng = np.random.default_rng(0)
    best = _score(Chase(), lambda record: record["target"] > record["position"])
    drawn = _score(Chase(), lambda _: rng.integers(2))
    assert 9.0 < best < 10.0
    assert 0.2 < drawn / best < 0.35


def test_the_picture_of_chase_shows_what_the_vectors_say():
    def read(record):
        row = record["image"][:, ::12, 0]
        assert row.shape == (48, 4)
        return int(row[0].argmax()), int(row[-1].argmax())

    picture, vector = make_env("testing:chase_image"), make_env("testing:chase")
    rng = np.random.default_rng(0)
    for seed in range(5):
        seen, told = picture.reset(seed), vector.reset(seed)
        while not told["is_last"]:
            assert read(seen) == (told["position"], told["target"])
            action = {"action": np.int32(rng.integers(2))}
            seen, told = picture.step(action), vector.step(action)
    assert picture.render().shape == (48, 48, 3)


def test_senseless_options_are_refused():
    with pytest.raises(UserError, match="ending"):
        Counting(ending="never")
    with pytest.raises(UserError, match="cells"):
        Chase(cells=1)
