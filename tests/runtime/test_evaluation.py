"""Evaluation counts fairly, says how it acted, and survives pictures and stops."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from tiny_run import make_training, shared_agent, tiny_run

from dreamer_jax.config import find_size
from dreamer_jax.device.compiled import Compiled, name_arrays
from dreamer_jax.envs.registry import make_env
from dreamer_jax.envs.testing.counting import Counting
from dreamer_jax.envs.vector.vector_env import VectorEnv
from dreamer_jax.runtime.evaluation import Evaluation, evaluate
from dreamer_jax.runtime.signals import StopRequest

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


class Undrawable(Filmed):
    """Has drawn `good` pictures when something goes wrong with the next one."""

    def __init__(self, good: int, wrong: Any) -> None:
        super().__init__(5)
        self._left, self._wrong = good, wrong

    def render(self) -> np.ndarray:
        self._left -= 1
        if self._left >= 0:
            return super().render()
        if isinstance(self._wrong, BaseException):
            raise self._wrong
        return self._wrong


class Stop(StopRequest):
    """Is asked for after so many looks at it."""

    def __init__(self, looks: int) -> None:
        self._looks = looks

    @property
    def requested(self) -> bool:
        self._looks -= 1
        return self._looks < 0


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


@pytest.mark.parametrize(
    ("good", "wrong", "reason"),
    [
        (0, SystemExit("no display"), "SystemExit: no display"),
        (0, np.zeros((2, 3), np.uint8), "ValueError: a picture is uint8"),
        (3, RuntimeError("no\ndisplay"), "RuntimeError: no display"),
        (3, np.zeros((3, 2, 3), np.uint8), r"ValueError: a picture is uint8\[3, 2, 3\] and not"),
        (3, np.zeros((2, 3, 3), np.float32), "ValueError: a picture is float32"),
        (3, "picture", "ValueError: a picture is <U7"),
    ],
)
def test_a_picture_that_cannot_be_drawn_costs_the_video_alone(
    compiled, params, good, wrong, reason
):
    """A renderer without a display raised, and the scores of all episodes were lost."""
    said: list[str] = []
    with VectorEnv(lambda: Undrawable(good, wrong), 2, seed=3, workers="inline") as envs:
        result = evaluate(envs, compiled, params, 3, video=True, warn=said.append)
    assert result.scores.shape == (3,) and result.complete and result.frames is None
    (line,) = said
    assert re.match(rf"no video: the environment could not be drawn \({reason}", line)
    assert "\n" not in line


def test_a_stop_is_heard_between_any_two_steps(compiled, params):
    """A stop during a long evaluation waited for its last episode."""
    lengths = (2, 5, 3)
    whole = run(compiled, params, lengths, 7)
    assert whole.complete
    for steps in range(11):
        result = run(compiled, params, lengths, 7, stop=Stop(steps))
        scores = result.scores.tolist()
        assert not result.complete
        # An episode of n steps and the reset of the next one take n + 1.
        quotas = zip((3, 2, 2), lengths, strict=True)
        ended = [min(quota, (steps + 1) // (n + 1)) for quota, n in quotas]
        assert len(scores) == sum(ended)
        assert set(scores) <= set(whole.scores.tolist())


def test_failures_do_not_count_once_a_stop_was_asked_for(compiled, params, monkeypatch):
    """The signal that asks for it may have ended the simulators, too."""
    heard: list[Callable[[], bool]] = []
    monkeypatch.setattr(VectorEnv, "forgive_failures", lambda _, when: heard.append(when))
    stop = StopRequest()
    run(compiled, params, (2, 2, 2), 3, stop=stop)
    (when,) = heard
    assert not when()
    stop.requested = True
    assert when()


@pytest.mark.usefixtures("shared_programs")
def test_a_run_evaluates_its_newest_agent_in_episodes_of_its_own(tmp_path, monkeypatch):
    """Nothing noticed parameters of one update before, or episodes that it was trained on."""
    training = make_training(tiny_run(TASK, {"evaluation.episodes": 2, "steps": 60}), tmp_path)
    compiled, seen = training.parts.compiled, []
    training.restore()
    assert training.run(StopRequest()) and training.learner.grad_steps > 2
    policy = compiled.policy

    def spied(params: Any, carry: Any, obs: Any, *rest: Any, **options: Any) -> Any:
        seen.append((params, {key: value.copy() for key, value in obs.items()}))
        return policy(params, carry, obs, *rest, **options)

    monkeypatch.setattr(compiled, "policy", spied)
    assert training.evaluate(StopRequest()).complete
    training.close()
    ours, newest = (name_arrays(tree, "") for tree in (
        seen[0][0], compiled.acting(training.learner.train_state)
    ))  # fmt: skip
    assert all(np.array_equal(ours[name], newest[name]) for name in newest)
    behind = name_arrays(training.learner.acting, "")
    assert not all(np.array_equal(behind[name], newest[name]) for name in newest)
    records = training.parts.replay._records.columns
    trained = {
        records["obs/seed"][stream, 0].tobytes() for stream in range(len(records["is_first"]))
    }
    assert trained.isdisjoint(row.tobytes() for row in seen[0][1]["seed"])
