"""Runs whole episodes with fixed parameters, and films one of them.

Every environment contributes a number of episodes fixed beforehand: counting whichever end first
would favour short ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dreamer_jax.device.compiled import Compiled
from dreamer_jax.runtime.device_driver import DeviceDriver
from dreamer_jax.runtime.driver import Driver
from dreamer_jax.runtime.environments import Envs, make_driver, make_envs
from dreamer_jax.runtime.episodes import Episode
from dreamer_jax.runtime.signals import Asked

# Stands for the index of a process in the seeds of evaluation episodes; training counts from 0.
EVALUATION_PROCESS = 1_000_000


class Evaluation(NamedTuple):
    """Finished episodes, and pictures of the first one if asked for."""

    episodes: list[Episode]
    frames: np.ndarray | None  # [T, h, w, 3] uint8
    complete: bool = True  # False: stopped on request, so that short episodes are over-counted

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
    stop: Asked | None = None,
    warn: Callable[[str], None] = print,
) -> Evaluation:
    """Run `episodes` episodes, spread evenly over the environments.

    Args:
        envs: Freshly made; at most as many environments as episodes.
        compiled: Supplies the policy.
        params: Acting parameters.
        episodes: Number to run.
        mode: `eval` takes the actor's mode, `train` samples.
        video: Render the first episode of the first environment.
        stop: Heard between any two calls of the environments; ends with what is finished.
        warn: Told once if a picture cannot be drawn; the evaluation goes on without the video.
    """
    driver = make_driver(envs, compiled, None, mode=mode, role="evaluation")
    if stop is not None:
        envs.forgive_failures(lambda: stop.requested)
    quota = np.full(envs.number, episodes // envs.number)
    quota[: episodes % envs.number] += 1
    finished: list[list[Episode]] = [[] for _ in range(envs.number)]
    film = _Film(driver, warn) if video else None
    while True:
        complete = all(len(done) >= int(q) for done, q in zip(finished, quota, strict=True))
        if complete or (stop is not None and stop.requested):
            break
        filming = not finished[0]  # the end of the episode included
        for index, episode in driver.step(params):
            if len(finished[index]) < quota[index]:
                finished[index].append(episode)
        if film is not None and filming:
            film.shoot()
    flat = [episode for done in finished for episode in done]
    return Evaluation(flat, None if film is None else film.frames, complete)


def evaluate_run(
    config: Any, compiled: Compiled, params: Any, stop: Asked, say: Callable[[str], None]
) -> Evaluation:
    """Run the evaluation of a config, in episodes that training never has.

    Args:
        config: Whole config.
        compiled: Supplies the policy.
        params: Acting parameters.
        stop: See `evaluate`.
        say: Receives one-line messages.
    """
    options = config.evaluation
    with make_envs(
        config,
        min(options.envs, options.episodes),
        seed=config.seed,
        process=EVALUATION_PROCESS,
        watched=options.video,
        warn=say,
    ) as envs:
        return evaluate(
            envs, compiled, params, options.episodes, video=options.video, stop=stop, warn=say
        )


class _Film:
    """Pictures of the first environment, until one cannot be drawn.

    Args:
        driver: Of the environments.
        warn: Told why one could not.
    """

    def __init__(self, driver: Driver | DeviceDriver, warn: Callable[[str], None]) -> None:
        self._driver, self._warn = driver, warn
        self._pictures: list[np.ndarray] = []
        self._rolling = True

    @property
    def frames(self) -> np.ndarray | None:
        """Pictures `[T, h, w, 3]` uint8; None if there are none, or one could not be drawn."""
        return np.stack(self._pictures) if self._pictures else None

    def shoot(self) -> None:
        """Add a picture."""
        if not self._rolling:
            return
        try:
            picture = self._driver.render(0)
            if picture is not None:
                self._pictures.append(self._checked(picture))
            self._rolling = picture is not None
        except (Exception, SystemExit) as error:  # simulators leave by sys.exit, too
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            self._warn(f"no video: the environment could not be drawn ({reason})")
            self._pictures, self._rolling = [], False

    def _checked(self, picture: Any) -> np.ndarray:
        shape, dtype = np.shape(picture), np.asarray(picture).dtype
        expected = self._pictures[0].shape if self._pictures else (*shape[:2], 3)
        if len(shape) != 3 or shape != expected or dtype != np.uint8:
            raise ValueError(f"a picture is {dtype}{list(shape)} and not uint8{list(expected)}")
        return np.asarray(picture)
