"""`testing:deepsea`: a treasure that random play finds once in 2^N episodes.

The deep sea of BSuite (Osband et al. 2020, arXiv:1908.03568): N×N cells, one row down each step,
one column to the right or to the left. Going right costs a little, so that whatever does not find
the treasure learns to go left. Which action means right is drawn for every cell, so that always
doing the same does not find it either.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from dreamer_jax.envs.spec import signals
from dreamer_jax.errors import UserError
from dreamer_jax.types import Record, Space, Spaces

_INT, _FLOAT = np.dtype(np.int32), np.dtype(np.float32)
MOVE_COST = 0.01  # of going right in every row


class DeepSea:
    """Going right N times pays 1 − 0.01, random play −0.005 + 2^−N on average.

    Records carry `log/treasure` (whether the episode found it), `log/column` (the furthest column
    of the episode) and `log/cells`, the distinct cells that this object has visited in all its
    episodes, of N·(N + 1) / 2 that can be reached. All three come with the last record. Only the
    last one depends on the past; a snapshot holds that too, so that a resumed run counts on.

    Args:
        size: N.
        one_hot: Whether records have one vector `cells` `[N·N]` (all zero below the last row)
            instead of the classes `row` and `column`.
        world_seed: Determines which action means right in which cell.
    """

    repeat = 1

    def __init__(self, size: int = 12, one_hot: bool = False, world_seed: int = 0) -> None:
        if not 2 <= size <= 64:
            raise UserError(f"size is {size}; the sea has 2 to 64 rows")
        self._size, self._one_hot = size, one_hot
        self.right = np.random.default_rng(world_seed).integers(2, size=(size, size))
        """`[row, column]` the action that goes right there."""
        self._row = self._column = self._furthest = 0
        self._visited: set[tuple[int, int]] = set()
        obs = {"row": Space(_INT, (), size + 1), "column": Space(_INT, (), size)}
        if one_hot:
            obs = {"cells": Space(_FLOAT, (size * size,))}
        self.spaces = Spaces(obs, {"action": Space(_INT, (), 2)})

    def reset(self, seed: int) -> Record:  # noqa: ARG002
        """Start at the top left; all episodes start alike."""
        self._row = self._column = self._furthest = 0
        self._visited.add((0, 0))
        return self._record(signals(is_first=True))

    def step(self, action: Mapping[str, np.ndarray]) -> Record:
        """Sink one row and move one column; the sides hold."""
        right = int(action["action"]) == self.right[self._row, self._column]
        found = bool(right and self._column == self._size - 1)
        reward = float(found) - (MOVE_COST / self._size if right else 0.0)
        self._row += 1
        self._column = min(max(self._column + (1 if right else -1), 0), self._size - 1)
        self._furthest = max(self._furthest, self._column)
        last = self._row == self._size
        record = self._record(signals(reward, is_last=last, is_terminal=last))
        if not last:
            self._visited.add((self._row, self._column))
            return record
        logs = {"treasure": found, "column": self._furthest, "cells": len(self._visited)}
        return record | {
            f"log/{name}": np.asarray(value, np.float32) for name, value in logs.items()
        }

    def render(self) -> np.ndarray | None:
        """Return None: there is nothing to see."""
        return None

    def close(self) -> None:
        """Do nothing."""

    def snapshot(self) -> bytes:
        """Return the open episode and the cells visited so far."""
        state = [self._row, self._column, self._furthest, sorted(self._visited)]
        return json.dumps(state).encode()

    def restore(self, state: bytes) -> None:
        """Continue from a state that `snapshot` returned."""
        self._row, self._column, self._furthest, visited = json.loads(state)
        self._visited = {(row, column) for row, column in visited}

    def _record(self, record: dict[str, Any]) -> Record:
        if not self._one_hot:
            return record | {"row": np.int32(self._row), "column": np.int32(self._column)}
        cells = np.zeros(self._size**2, np.float32)
        if self._row < self._size:
            cells[self._row * self._size + self._column] = 1
        return record | {"cells": cells}
