"""Runs whole episodes with fixed parameters and sums them up honestly.

Every environment contributes a number of episodes fixed beforehand: counting whichever end first
would favour short ones.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dreamer_jax.device.compiled import Compiled
from dreamer_jax.runtime.environments import Envs, make_driver
from dreamer_jax.runtime.episodes import Episode

# Stands for the index of a process in the seeds of evaluation episodes; training counts from 0.
EVALUATION_PROCESS = 1_000_000
RESAMPLES = 10_000


class Evaluation(NamedTuple):
    """Finished episodes, and pictures of the first one if asked for."""

    episodes: list[Episode]
    frames: np.ndarray | None  # [T, h, w, 3] uint8

    @property
    def scores(self) -> np.ndarray:
        """Scores `[episodes]`."""
        return np.array([episode.score for episode in self.episodes])


def evaluate(
    envs: Envs,
    compiled: Compiled,
    params: Any,
    episodes: int,
    *,
    mode: str = "eval",
    video: bool = False,
) -> Evaluation:
    """Run `episodes` episodes, spread evenly over the environments.

    Args:
        envs: Freshly made; at most as many environments as episodes.
        compiled: Supplies the policy.
        params: Acting parameters.
        episodes: Number to run.
        mode: `eval` takes the actor's mode, `train` samples.
        video: Render the first episode of the first environment.
    """
    driver = make_driver(envs, compiled, None, mode=mode, role="evaluation")
    quota = np.full(envs.number, episodes // envs.number)
    quota[: episodes % envs.number] += 1
    finished: list[list[Episode]] = [[] for _ in range(envs.number)]
    frames: list[np.ndarray] = []
    while any(len(done) < int(q) for done, q in zip(finished, quota, strict=True)):
        filming = video and not finished[0]  # the end of the episode included
        for index, episode in driver.step(params):
            if len(finished[index]) < quota[index]:
                finished[index].append(episode)
        if filming:
            picture = driver.render(0)
            video = picture is not None
            frames.extend([picture] if picture is not None else [])
    flat = [episode for done in finished for episode in done]
    return Evaluation(flat, np.stack(frames) if frames else None)


def mean_interval(scores: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Return the percentile-bootstrap confidence interval of the mean.

    Args:
        scores: `[episodes]`.
        confidence: Probability that the interval claims.
    """
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(scores), (RESAMPLES, len(scores)))
    tail = 50 * (1 - confidence)
    low, high = np.percentile(scores[draws].mean(1), [tail, 100 - tail])
    return float(low), float(high)


def describe(scores: np.ndarray) -> str:
    """Return one line for people: mean, interval, median, range."""
    low, high = mean_interval(scores)
    return (
        f"mean {scores.mean():.1f} (95% interval {low:.1f} to {high:.1f}), "
        f"median {np.median(scores):.1f}, range {scores.min():.1f} to {scores.max():.1f}, "
        f"{len(scores)} episodes"
    )
