"""`testing:corridor`: a far reward, and a button that shows noise.

Curiosity by prediction error never tires of the button, because its picture cannot be predicted;
there is nothing to learn from it either, which curiosity by disagreement finds out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dreamer_jax.envs.spec import signals
from dreamer_jax.errors import UserError
from dreamer_jax.types import Record, Space, Spaces

_INT, _FLOAT = np.dtype(np.int32), np.dtype(np.float32)
LEFT, RIGHT, BUTTON = range(3)


class Corridor:
    """Starts in cell 0 and pays 1 for reaching the last cell, which ends the episode.

    Actions: 0 left, 1 right, 2 the button, which shows fresh standard normal noise in `screen` of
    the next record; at all other times the screen is zero. The clock truncates an episode. Its
    last record carries `log/furthest`, the furthest cell, and `log/button`, the share of steps that
    pressed the button. With the default sizes random play reaches the end in 0.06 % of episodes.

    Args:
        cells: Places along the corridor.
        length: Index of the last record.
        screen: Numbers on the screen.
    """

    repeat = 1

    def __init__(self, cells: int = 24, length: int = 64, screen: int = 8) -> None:
        if not 2 <= cells <= length + 1:
            raise UserError(f"cells={cells}, length={length}: 2 to length + 1 cells can be reached")
        if screen < 1:
            raise UserError(f"screen is {screen}; it shows at least one number")
        self._cells, self._length, self._screen = cells, length, screen
        self._position = self._furthest = self._presses = self._index = 0
        self._rng = np.random.default_rng(0)
        self.spaces = Spaces(
            {"position": Space(_INT, (), cells), "screen": Space(_FLOAT, (screen,))},
            {"action": Space(_INT, (), 3)},
        )

    def reset(self, seed: int) -> Record:
        """Start at the left end; the seed determines the noise."""
        self._rng = np.random.default_rng(seed)
        self._position = self._furthest = self._presses = self._index = 0
        return self._record(False, signals(is_first=True))

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Move one cell or press the button; the left end holds."""
        self._index += 1
        pressed = int(action["action"]) == BUTTON
        self._presses += pressed
        if not pressed:
            move = 1 if int(action["action"]) == RIGHT else -1
            self._position = max(self._position + move, 0)
        self._furthest = max(self._furthest, self._position)
        reached = self._position == self._cells - 1
        last = reached or self._index == self._length
        record = self._record(pressed, signals(float(reached), is_last=last, is_terminal=reached))
        if last:
            record["log/furthest"] = np.asarray(self._furthest, np.float32)
            record["log/button"] = np.asarray(self._presses / self._index, np.float32)
        return record

    def render(self) -> np.ndarray | None:
        """Return None: there is nothing to see."""
        return None

    def close(self) -> None:
        """Do nothing."""

    def _record(self, pressed: bool, record: dict[str, Any]) -> Record:
        screen = np.zeros(self._screen, np.float32)
        if pressed:
            screen = self._rng.standard_normal(self._screen).astype(np.float32)
        return record | {"position": np.int32(self._position), "screen": screen}
