"""`testing:recall`: remember a cue over many steps of distraction, then choose it.

    record   0     1 … D         D + 1    D + 2
    symbol   cue   distractors   none     none
    phase    cue   wait          choose   over
                                          reward of the action chosen at record D + 1

Distractors are drawn from the cue's own symbols, so only the phase says which symbol counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dreamer_jax.envs.spec import signals
from dreamer_jax.errors import UserError
from dreamer_jax.types import Record, Space, Spaces

_CUE, _WAIT, _CHOOSE = range(3)
_LONGEST = 62  # an episode then has 64 steps


class Recall:
    """Pays 1 for choosing the cue; without memory nothing does better than 1 / choices.

    The observation `view` is the symbol as a one-hot vector, then the phase (cue, wait, choose) as
    another; where there is no symbol or phase, its part is zero.

    Args:
        delay: D, distractor steps between cue and choice, 0 to 62.
        choices: Number of symbols, and of actions.
    """

    repeat = 1

    def __init__(self, delay: int = 16, choices: int = 4) -> None:
        if not 0 <= delay <= _LONGEST:
            raise UserError(f"delay is {delay}; it is 0 to {_LONGEST} steps")
        if choices < 2:
            raise UserError(f"choices is {choices}; there are at least 2")
        self._delay, self._choices = delay, choices
        self._symbols = np.zeros(delay + 1, np.int64)  # the cue, then the distractors
        self._index = 0
        self.spaces = Spaces(
            {"view": Space(np.dtype(np.float32), (choices + 3,))},
            {"action": Space(np.dtype(np.int32), (), choices)},
        )

    def reset(self, seed: int) -> Record:
        """Start the episode that `seed` determines."""
        rng = np.random.default_rng(seed)
        self._symbols = rng.integers(self._choices, size=self._delay + 1)
        self._index = 0
        return self._record(signals(is_first=True))

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Go on one step; only the last action counts."""
        self._index += 1
        last = self._index == self._delay + 2
        right = last and int(action["action"]) == self._symbols[0]
        return self._record(signals(float(right), is_last=last, is_terminal=last))

    def render(self) -> np.ndarray | None:
        """Return None: there is nothing to see."""
        return None

    def close(self) -> None:
        """Do nothing."""

    def _record(self, record: dict[str, Any]) -> Record:
        view = np.zeros(self._choices + 3, np.float32)
        if self._index <= self._delay:
            view[self._symbols[self._index]] = 1
            view[self._choices + (_WAIT if self._index else _CUE)] = 1
        elif self._index == self._delay + 1:
            view[self._choices + _CHOOSE] = 1
        return record | {"view": view}
