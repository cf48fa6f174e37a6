"""Evaluation counts fairly, says how it acted, and claims no more certainty than it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from tiny_run import shared_agent, tiny_run

from dreamer_jax.config import find_size
from dreamer_jax.device.compiled import Compiled
from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.testing.counting import Counting
from dreamer_jax.envs.vector.vector_env import VectorEnv
from dreamer_jax.runtime.evaluation import Evaluation, describe, evaluate, mean_interval

pytestmark = pytest.mark.usefixtures("cheap_compile")

TASK = "testing:counting"
CONFIG = tiny_run(TASK)


@pytest.fixture(scope="module")
def compiled(cheap_compile: None) -> Compiled:  # noqa: ARG001
    return shared_agent(CONFIG, find_size(CONFIG.size), make_env(TASK).spaces)


@pytest.fixture(scope="module")
def params(compiled: Compiled) -> Any:
    return compiled.acting(compiled.init())


class Filmed(Counting):
    """Ends after its own number of steps; its picture is as bright as its index."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self._length = length  # of the episodes; the spaces stay those of the agent

    def render(self) -> np.ndarray:
        return np.full((2, 3, 3), self._index, np.uint8)


def uneven(*lengths: int) -> Callable[[], Filmed]:
    """Return a constructor that gives one environment after the other its length."""
    remaining: Iterator[int] = iter(lengths)
    return lambda: Filmed(next(remaining))


def run(
    compiled: Compiled, params: Any, lengths: tuple[int, ...], episodes: int, **options: Any
) -> Evaluation:
    with VectorEnv(uneven(*lengths), len(lengths), seed=3, workers="inline") as envs:
        return evaluate(envs, compiled, params, episodes, **options)


@pytest.mark.parametrize(
    ("episodes", "expected"),
    [(3, [2, 5, 3]), (7, [2, 2, 2, 5, 5, 3, 3]), (8, [2, 2, 2, 5, 5, 5, 3, 3])],
)
def test_every_environment_contributes_its_share(compiled, params, episodes, expected):
    """Whichever end first would be the short ones: failures, or quick successes."""
    result = run(compiled, params, (2, 5, 3), episodes)
    assert [episode.length for episode in result.episodes] == expected
    assert result.scores.shape == (episodes,)
    assert result.scores.tolist() == [episode.score for episode in result.episodes]


def test_greedy_and_sampled_are_what_they_say(compiled, params, monkeypatch):
    modes, policy = [], compiled.policy

    def spied(*args: Any, **options: Any) -> Any:
        modes.append((options["mode"], options["role"]))
        return policy(*args, **options)

    monkeypatch.setattr(compiled, "policy", spied)
    score = lambda **options: run(compiled, params, (5, 5, 5), 9, **options).scores.tolist()
    greedy = score()
    assert set(modes) == {("eval", "evaluation")}
    modes.clear()
    sampled = score(mode="train")
    assert set(modes) == {("train", "evaluation")}
    assert (greedy, sampled) == (score(), score(mode="train"))
    assert greedy != sampled


def test_video_shows_the_first_episode_to_its_end(compiled, params):
    """The last picture, of the end itself, used to be missing."""
    result = run(compiled, params, (4, 2, 3), 7, video=True)
    assert result.frames is not None
    assert result.frames.shape == (4, 2, 3, 3) and result.frames.dtype == np.uint8
    assert result.frames[:, 0, 0, 0].tolist() == [1, 2, 3, 4]


def test_no_video_unless_asked_for_and_possible(compiled, params):
    assert run(compiled, params, (2, 2, 2), 3).frames is None
    with VectorEnv(lambda: Counting(), 3, seed=3, workers="inline") as envs:
        assert evaluate(envs, compiled, params, 3, video=True).frames is None


def test_interval_of_equal_scores_is_a_point():
    assert mean_interval(np.full(7, 4.5)) == (4.5, 4.5)
    assert mean_interval(np.array([3.0])) == (3.0, 3.0)


def test_interval_of_two_scores_by_hand():
    """Resampled means are 0, 1/2, 1 with probability 1/4, 1/2, 1/4."""
    scores = np.array([0.0, 1.0])
    assert mean_interval(scores, 0.95) == (0.0, 1.0)
    assert mean_interval(scores, 0.60) == (0.0, 1.0)
    assert mean_interval(scores, 0.40) == (0.5, 0.5)


def test_interval_covers_the_mean_as_often_as_it_claims():
    """Of 300 samples; a percentile interval of 25 normal scores covers about 93 %."""
    rng = np.random.default_rng(0)
    intervals = [mean_interval(sample) for sample in rng.normal(10, 3, (300, 25))]
    covered = np.mean([low <= 10 <= high for low, high in intervals])
    assert 0.89 <= covered <= 0.97
    width = np.mean([high - low for low, high in intervals])
    assert width == pytest.approx(2 * 1.96 * 3 / 5, rel=0.08)


def test_description_names_every_number():
    assert describe(np.array([2.0, 2.0, 2.0])) == (
        "mean 2.0 (95% interval 2.0 to 2.0), median 2.0, range 2.0 to 2.0, 3 episodes"
    )
    text = describe(np.array([0.0, 1.0, 1.0, 10.0]))
    assert text.startswith("mean 3.0 (95% interval 0.")
    assert text.endswith("median 1.0, range 0.0 to 10.0, 4 episodes")
