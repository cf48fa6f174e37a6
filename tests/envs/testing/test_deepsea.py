"""`testing:deepsea`: moves, rewards and counts by hand, and how rarely random play finds it."""

from __future__ import annotations

import numpy as np
import pytest

from dreamer_jax.envs.testing.deepsea import DeepSea
from dreamer_jax.errors import UserError

SIZE = 5


def dive(env: DeepSea, ways: str) -> tuple[float, dict]:
    """Go `r` or `l` in turn; return the score and the last record."""
    record, score = env.reset(0), 0.0
    for way in ways:
        assert not record["is_last"]
        right = env.right[int(record["row"]), int(record["column"])]
        record = env.step({"action": np.int32(right if way == "r" else 1 - right)})
        score += float(record["reward"])
    return score, record


@pytest.mark.parametrize(
    ("ways", "column", "furthest", "score"),
    [
        ("rrrrr", 4, 4, 1 - 0.01),
        ("rrrrl", 3, 4, -0.008),
        ("lllll", 0, 0, 0.0),
        ("lrrrr", 4, 4, -0.008),  # in the right column, but a step too late
        ("rlrlr", 1, 1, -0.006),
    ],
)
def test_dives_by_hand(ways, column, furthest, score):
    earned, record = dive(DeepSea(SIZE), ways)
    assert earned == pytest.approx(score)
    assert (record["row"], record["column"], record["log/column"]) == (SIZE, column, furthest)
    assert record["is_last"] and record["is_terminal"]
    assert record["log/treasure"] == (score > 0)


def test_cells_are_counted_over_episodes_and_once():
    env = DeepSea(SIZE)
    # Cells (row, column): 5; then (1, 1), (2, 1), (3, 1), (4, 1) are new; then nothing.
    for ways, cells in (("lllll", 5), ("rlrlr", 7), ("rlrlr", 7), ("rrrrr", 10)):
        assert dive(env, ways)[1]["log/cells"] == cells
    for number in range(2**SIZE):
        record = dive(env, "".join("lr"[number >> bit & 1] for bit in range(SIZE)))[1]
    assert record["log/cells"] == SIZE * (SIZE + 1) / 2


def test_a_snapshot_keeps_the_episode_and_the_count():
    env, other = DeepSea(SIZE), DeepSea(SIZE)
    dive(env, "rrrrr")
    dive(env, "lr")
    other.restore(env.snapshot())
    for _ in range(3):
        record, twin = (each.step({"action": np.int32(1)}) for each in (env, other))
        assert record == twin
    assert record["log/cells"] > 5


@pytest.mark.parametrize("size", [4, 6])
def test_random_play_finds_the_treasure_once_in_two_to_the_n(size):
    rng, episodes = np.random.default_rng(0), 4000
    env, found, score = DeepSea(size), 0, 0.0
    for _ in range(episodes):
        record = env.reset(0)
        while not record["is_last"]:
            record = env.step({"action": np.int32(rng.integers(2))})
            score += float(record["reward"])
        found += int(record["log/treasure"])
    p = 2.0**-size
    assert abs(found / episodes - p) < 4 * np.sqrt(p * (1 - p) / episodes)
    assert abs(score / episodes - (found / episodes - 0.005)) < 4 * 0.01 / np.sqrt(episodes)


def test_doing_always_the_same_finds_nothing():
    """The meaning of the actions differs between cells, and is the same in every object."""
    for seed in range(5):
        env = DeepSea(12, world_seed=seed)
        np.testing.assert_array_equal(env.right, DeepSea(12, world_seed=seed).right)
        for action in (0, 1):
            record = env.reset(0)
            while not record["is_last"]:
                record = env.step({"action": np.int32(action)})
            assert not record["log/treasure"]
    assert (DeepSea(12, world_seed=0).right != DeepSea(12, world_seed=1).right).any()


def test_one_hot_cells_say_the_same():
    classes, one_hot = DeepSea(SIZE), DeepSea(SIZE, one_hot=True)
    told, seen = classes.reset(0), one_hot.reset(0)
    while not told["is_last"]:
        assert np.flatnonzero(seen["cells"]) == SIZE * told["row"] + told["column"]
        action = {"action": classes.right[told["row"], told["column"]]}
        told, seen = classes.step(action), one_hot.step(action)
    assert not seen["cells"].any() and seen["reward"] == told["reward"] > 0.9


def test_a_senseless_size_is_refused():
    with pytest.raises(UserError, match="size is 1; the sea has 2 to 64 rows"):
        DeepSea(1)
