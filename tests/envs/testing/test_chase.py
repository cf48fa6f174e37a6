"""`testing:chase`: its rules, scales and pictures."""

from __future__ import annotations

import numpy as np
import pytest

from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.testing.chase import AGENT, DARK, RULES, TARGET, Chase
from dreamer_jax.errors import UserError


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


def step(env: Chase, position: int, target: int, action: int):
    """Step from a given state."""
    env._position, env._target = position, target
    record = env.step({"action": np.int32(action)})
    return int(record["position"]), float(record["reward"])


LEFT, RIGHT = 0, 1


@pytest.mark.parametrize(
    ("position", "target", "action", "arrived", "paid"),
    [  # of 5 cells
        (2, 3, RIGHT, 3, {"reach"}),
        (1, 4, LEFT, 0, {"left", "flee"}),
        (0, 1, LEFT, 0, {"left"}),  # the wall holds
        (3, 2, RIGHT, 4, {"right", "flee"}),
        (3, 4, RIGHT, 4, {"reach", "right"}),
        (1, 0, RIGHT, 2, {"flee"}),
        (2, 0, LEFT, 1, set()),
    ],
)
def test_every_rule_pays_for_its_own_places(position, target, action, arrived, paid):
    for rule in RULES:
        env = Chase(cells=5, rule=rule)
        env.reset(0)
        assert step(env, position, target, action) == (arrived, float(rule in paid)), rule


def test_rules_share_dynamics_and_records_do_not_tell_them_apart():
    rng = np.random.default_rng(0)
    envs = [Chase(cells=5, rule=rule, length=37) for rule in RULES]
    records = [env.reset(3) for env in envs]
    rewards = []
    while not records[0]["is_last"]:
        action = {"action": np.int32(rng.integers(2))}
        records = [env.step(action) for env in envs]
        rewards.append([float(record.pop("reward")) for record in records])
        assert all(record == records[0] for record in records)
    assert len({tuple(column) for column in zip(*rewards, strict=True)}) == len(RULES)


def test_scores_of_the_rules_left_and_right_are_what_a_walk_to_the_end_earns():
    """From cell c of 4 the way takes c steps, on average 1.5; the last of them pays already."""
    left = _score(Chase(rule="left"), lambda _: LEFT)
    right = _score(Chase(rule="right"), lambda _: RIGHT)
    # In cell 0 the first step already stays: steps paid 16, 16, 15, 14.
    assert abs(left - 15.25) < 0.2 and abs(right - 15.25) < 0.2
    assert _score(Chase(rule="left"), lambda _: RIGHT, 50) == 0


@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_the_scale_multiplies_rewards_and_nothing_else(scale):
    plain, scaled = Chase(), Chase(reward_scale=scale)
    records = plain.reset(5), scaled.reset(5)
    rewards = []
    while not records[0]["is_last"]:
        action = {"action": np.int32(records[0]["target"] > records[0]["position"])}
        records = plain.step(action), scaled.step(action)
        one, other = (record.pop("reward") for record in records)
        rewards.append(float(one))
        assert other == np.float32(scale * one) and other.dtype == np.float32
        assert records[0] == records[1]
    assert 0 < sum(rewards) < 16


def test_small_objects_stand_in_the_middle_of_their_cells():
    env = make_env("testing:chase_image", object_size=4)
    env.reset(0)
    env._position, env._target = 1, 3
    picture = env._picture()[:, :, 0]
    expected = np.zeros((48, 48), np.uint8)
    expected[10:14, 16:20] = AGENT  # cells are 12 wide, halves 24 high
    expected[34:38, 40:44] = TARGET
    np.testing.assert_array_equal(picture, expected)


def test_the_noisy_background_moves_and_changes_nothing_else():
    clean = make_env("testing:chase_image", object_size=4)
    noisy = make_env("testing:chase_image", object_size=4, background="noise")
    rng, behind = np.random.default_rng(0), []
    records = clean.reset(7), noisy.reset(7)
    while not records[0]["is_last"]:
        action = {"action": np.int32(rng.integers(2))}
        records = clean.step(action), noisy.step(action)
        seen, hidden = (record["image"] for record in records)
        objects = seen > 0
        np.testing.assert_array_equal(hidden[objects], seen[objects])
        assert hidden[~objects].max() < DARK and hidden.std() > 10
        assert records[0]["reward"] == records[1]["reward"]
        behind.append(noisy._path[noisy._index].tolist())
        np.testing.assert_array_equal(noisy._picture(), hidden)  # looking does not move it
    steps = np.diff(behind, axis=0)
    assert np.abs(steps).max() == 2 and len({tuple(step) for step in steps.tolist()}) > 5
    first, again, other = (noisy.reset(seed)["image"] for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("chase", {"cells": 1}, "cells is 1"),
        ("chase", {"rule": "rest"}, "rule is 'rest'; choose one of reach, left, right, flee"),
        ("chase_image", {"background": "film"}, "background is 'film'"),
        ("chase_image", {"object_size": 13}, "a cell has room for 12 pixels"),
        ("chase", {"background": "noise"}, "only chase_image has a picture"),
    ],
)
def test_senseless_options_are_refused(task, options, message):
    with pytest.raises(UserError, match=message):
        make_env(f"testing:{task}", **options)
