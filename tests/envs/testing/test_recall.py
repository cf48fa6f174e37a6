"""`testing:recall`: what it shows when, and what it pays for."""

from __future__ import annotations

import numpy as np
import pytest

from dreamer_jax.envs.testing.recall import Recall
from dreamer_jax.errors import UserError


def play(env: Recall, seed: int, choose) -> tuple[float, list[np.ndarray]]:
    """Play an episode; `choose` gets all views so far."""
    record, views, score = env.reset(seed), [], 0.0
    while not record["is_last"]:
        views.append(record["view"])
        record = env.step({"action": np.int32(choose(views))})
        score += float(record["reward"])
    assert record["is_terminal"]
    return score, [*views, record["view"]]


def test_views_show_cue_distractors_and_the_choice_in_turn():
    env = Recall(delay=3, choices=5)
    _, views = play(env, 11, lambda _: 0)
    assert len(views) == 6
    symbols, phases = np.stack(views)[:, :5], np.stack(views)[:, 5:]
    assert symbols.sum(1).tolist() == [1, 1, 1, 1, 0, 0]
    assert phases.tolist() == [[1, 0, 0], *[[0, 1, 0]] * 3, [0, 0, 1], [0, 0, 0]]
    # The stream of the seed: the cue first, then the distractors.
    drawn = np.random.default_rng(11).integers(5, size=4)
    assert symbols[:4].argmax(1).tolist() == drawn.tolist()


@pytest.mark.parametrize("delay", [0, 16, 32, 48])
def test_memory_is_always_paid_and_the_episode_is_short(delay):
    env = Recall(delay=delay)
    for seed in range(20):
        score, views = play(env, seed, lambda views: views[0][:4].argmax())
        assert score == 1 and len(views) == delay + 3 <= 64


@pytest.mark.parametrize("choices", [2, 4, 7])
def test_random_play_scores_one_in_so_many(choices):
    rng, episodes = np.random.default_rng(0), 2000
    env = Recall(delay=2, choices=choices)
    scores = [play(env, seed, lambda _: rng.integers(choices))[0] for seed in range(episodes)]
    p = 1 / choices
    assert abs(np.mean(scores) - p) < 4 * np.sqrt(p * (1 - p) / episodes)


def test_the_last_distractor_says_nothing_about_the_cue():
    """Copying what was seen last, all that a memoryless agent could do, scores as random play."""
    env, episodes = Recall(delay=5), 2000
    latest = lambda views: views[-2][:4].argmax() if len(views) > 1 else 0
    scores = [play(env, seed, latest)[0] for seed in range(episodes)]
    assert abs(np.mean(scores) - 0.25) < 4 * np.sqrt(0.25 * 0.75 / episodes)


def test_actions_before_the_choice_do_not_count():
    env = Recall(delay=4)
    cue = lambda views: views[0][:4].argmax()
    wrong_until_the_end = lambda views: (cue(views) + (len(views) < 6)) % 4
    assert play(env, 0, wrong_until_the_end)[0] == 1
    assert play(env, 0, lambda views: (wrong_until_the_end(views) + 1) % 4)[0] == 0


def test_senseless_options_are_refused():
    with pytest.raises(UserError, match="delay is 63; it is 0 to 62 steps"):
        Recall(delay=63)
    with pytest.raises(UserError, match="choices is 1"):
        Recall(choices=1)
