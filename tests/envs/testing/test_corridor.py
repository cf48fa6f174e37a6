"""`testing:corridor`: walks by hand, the button, and how far random play comes."""

from __future__ import annotations

import numpy as np
import pytest

from dreamer_jax.envs.testing.corridor import BUTTON, LEFT, RIGHT, Corridor
from dreamer_jax.errors import UserError


def walk(env: Corridor, actions, seed: int = 0) -> list[dict]:
    records = [env.reset(seed)]
    for action in actions:
        assert not records[-1]["is_last"]
        records.append(env.step({"action": np.int32(action)}))
    return records


def test_a_walk_by_hand():
    walked = walk(Corridor(5, 7), [LEFT, RIGHT, RIGHT, BUTTON, LEFT, RIGHT, LEFT])
    assert [int(record["position"]) for record in walked] == [0, 0, 1, 2, 2, 1, 2, 1]
    assert [bool(record["screen"].any()) for record in walked] == [False] * 4 + [True] + [False] * 3
    last = walked[-1]
    assert last["is_last"] and not last["is_terminal"] and last["reward"] == 0
    assert last["log/furthest"] == 2 and last["log/button"] == np.float32(1 / 7)


def test_the_last_cell_pays_and_ends():
    env = Corridor(5, 7)
    walked = walk(env, [RIGHT] * 4)
    assert [float(record["reward"]) for record in walked] == [0, 0, 0, 0, 1]
    assert walked[-1]["is_terminal"] and walked[-1]["log/furthest"] == 4
    assert sum(float(record["reward"]) for record in walk(Corridor(), [RIGHT] * 23)) == 1


def test_the_noise_is_fresh_standard_normal_and_drawn_from_the_seed():
    env = Corridor(length=400)
    screens = lambda seed: np.stack([r["screen"] for r in walk(env, [BUTTON] * 400, seed)[1:]])
    one = screens(3)
    assert len(np.unique(one)) == one.size == 3200
    assert abs(one.mean()) < 4 / np.sqrt(one.size)
    assert abs(one.var() - 1) < 4 * np.sqrt(2 / one.size)
    np.testing.assert_array_equal(one, screens(3))
    assert (one != screens(4)).all()


def test_random_play_comes_as_far_as_theory_says():
    """A Markov chain gives the probability of the end; the share of presses is a third."""
    cells, length, episodes = 7, 20, 2000
    at = np.eye(cells)[0]
    for _ in range(length):
        new = at / 3
        new[-1] = at[-1]
        np.add.at(new, np.maximum(np.arange(cells - 1) - 1, 0), at[:-1] / 3)
        new[1:] += at[:-1] / 3
        at = new
    rng, env = np.random.default_rng(0), Corridor(cells, length)
    reached, presses, steps = 0, 0.0, 0
    for seed in range(episodes):
        record, taken = env.reset(seed), 0
        while not record["is_last"]:
            record = env.step({"action": np.int32(rng.integers(3))})
            taken += 1
        reached += int(record["reward"])
        presses += float(record["log/button"]) * taken
        steps += taken
    p = at[-1]
    assert 0.05 < p < 0.5
    assert abs(reached / episodes - p) < 4 * np.sqrt(p * (1 - p) / episodes)
    assert abs(presses / steps - 1 / 3) < 4 * np.sqrt(2 / 9 / steps) + 0.01


def test_senseless_options_are_refused():
    with pytest.raises(UserError, match="cells=9, length=7"):
        Corridor(cells=9, length=7)
    with pytest.raises(UserError, match="screen is 0"):
        Corridor(screen=0)
