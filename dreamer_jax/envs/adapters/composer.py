"""Composer environments of dm_control: built anew for each episode, from the episode's seed.

Their mazes, textures and targets draw from random states of several kinds, some of them in C++ and
some NumPy's global one, which live on from episode to episode. An environment that has just been
built depends on its seed alone. Most of them compile their model anew at a reset anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dm_env
import numpy as np

from dreamer_jax.envs.adapters.dm_environment import DmEnvironment
from dreamer_jax.types import Record, Space, Spaces

_RENDER_SIZE = (240, 320)


class RebuiltEnvironment(DmEnvironment):
    """A composer environment per episode.

    Args:
        build: Makes one from a seed.
        repeat: Times each action is applied; rewards are summed.
    """

    def __init__(self, build: Callable[[int], dm_env.Environment], repeat: int = 1) -> None:
        self._build = build
        with _global_seed(0):
            super().__init__(build(0), repeat=repeat)
        # Sensors that a body does not have are keys without elements.
        self._observed = [key for key in self._observed if self._size(key.name)]
        obs = {key: space for key, space in self.spaces.obs.items() if self._size(key)}
        self.spaces = Spaces(obs, self.spaces.action)

    def reset(self, seed: int) -> Record:
        """Build and start the episode that `seed` determines."""
        self._environment.close()
        # The first picture is drawn from the random numbers that building left.
        with _global_seed(seed):
            self._environment = self._build(seed)
            return super().reset(seed)

    def render(self) -> np.ndarray:
        """Return a picture from the first camera."""
        environment: Any = self._environment
        return environment.physics.render(*_RENDER_SIZE, camera_id=0)

    def _reseed(self, seed: int) -> None:
        """Do nothing: it was built from the seed."""

    def _size(self, key: str) -> int:
        space: Space = self.spaces.obs[key]
        return int(np.prod(space.shape))


@contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    """Seed NumPy's global random numbers, which labmaze draws from, and put them back."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
