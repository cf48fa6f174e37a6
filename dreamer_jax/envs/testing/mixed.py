"""`testing:mixed` has every kind of observation and action key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dreamer_jax.envs.spec import signals
from dreamer_jax.types import Record, Space, Spaces

_INT, _FLOAT, _BYTE = np.dtype(np.int32), np.dtype(np.float32), np.dtype(np.uint8)


class Mixed:
    """Has every kind of observation and action key, and noise drawn from the episode's seed.

    The vector remembers the running sum of `move`, the integer the last `choice`, the bools the
    last `pair`; the reward is the sum of `move` before clipping noise is added to the image.

    Args:
        length: Index of the last record; episodes of odd seeds end terminally.
        size: Height and width of the picture.
    """

    repeat = 1

    def __init__(self, length: int = 11, size: int = 48) -> None:
        self._length, self._size = length, size
        self._seed, self._index = 0, 0
        self._rng = np.random.default_rng(0)
        self._sum = np.zeros(2, np.float32)
        self.spaces = Spaces(
            {
                "image": Space(_BYTE, (size, size, 3)),
                "vector": Space(_FLOAT, (5,)),
                "matrix": Space(_FLOAT, (2, 3)),
                "integer": Space(_INT, (), 7),
                "flags": Space(np.dtype(np.bool_), (2,), 2),
            },
            {
                "choice": Space(_INT, (), 7),
                "pair": Space(_INT, (2,), 3),
                "move": Space(_FLOAT, (2,)),
            },
        )

    def reset(self, seed: int) -> Record:
        """Start the episode that `seed` determines."""
        self._seed, self._index = seed, 0
        self._rng = np.random.default_rng(seed)
        self._sum = np.zeros(2, np.float32)
        return self._record(0, np.zeros(2, np.int32), signals(is_first=True))

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Apply one action of all three keys."""
        self._index += 1
        move = np.clip(np.asarray(action["move"], np.float32), -1, 1)
        self._sum = self._sum + move
        last = self._index >= self._length
        flags = signals(float(move.sum()), is_last=last, is_terminal=last and self._seed % 2 == 1)
        return self._record(int(action["choice"]), np.asarray(action["pair"]), flags)

    def render(self) -> np.ndarray | None:
        """Return a picture whose brightness is the index."""
        return np.full((self._size, self._size, 3), 20 * self._index % 256, np.uint8)

    def close(self) -> None:
        """Do nothing."""

    def _record(self, choice: int, pair: np.ndarray, record: dict[str, Any]) -> Record:
        noise = self._rng.standard_normal(9).astype(np.float32)
        image = np.zeros((self._size, self._size, 3), np.uint8)
        image[:, : 1 + self._index % self._size, choice % 3] = 255
        image[0, 0] = self._rng.integers(256, size=3)
        return record | {
            "image": image,
            "vector": np.concatenate([self._sum, noise[:3]]),
            "matrix": noise[3:].reshape(2, 3),
            "integer": np.int32(choice),
            "flags": pair > 0,
        }
