"""What was done in open episodes, by which they are brought back where no snapshot does it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from dreamer_jax.types import Space


class ActionHistory:
    """Actions of each environment since its reset.

    Kept for simulators with snapshots, too, because one of those may fail. The lists of the
    environments share their arrays, so this costs one copy of the actions a step.

    Args:
        spaces: Of the actions.
        number: E, environments.
    """

    def __init__(self, spaces: Mapping[str, Space], number: int) -> None:
        self._spaces, self._number = spaces, number
        self._steps: list[list[dict[str, np.ndarray]]] = [[] for _ in range(number)]
        self._whole = [True] * number  # whether the first ones are there

    def begin(self, index: int) -> None:
        """Start an episode of an environment."""
        self._steps[index], self._whole[index] = [], True

    def add(self, actions: Mapping[str, np.ndarray], acting: Iterable[int]) -> None:
        """Keep stacked actions `[E, *shape]` for the environments that get them."""
        kept = {key: np.array(value) for key, value in actions.items()}
        for index in acting:
            self._steps[index].append(kept)

    def stacked(self, index: int) -> dict[str, np.ndarray]:
        """Return the actions of an episode, `[steps, *shape]` by key.

        Of an episode whose first ones are unknown there are none: replayed, it would be another.
        """
        steps = self._steps[index] if self._whole[index] else []
        return {
            key: np.array([step[key][index] for step in steps], space.dtype).reshape(
                len(steps), *space.shape
            )
            for key, space in self._spaces.items()
        }

    def none(self) -> dict[str, np.ndarray]:
        """Return no actions, in the layout of `stacked`."""
        return {key: np.zeros((0, *s.shape), s.dtype) for key, s in self._spaces.items()}

    def load(self, index: int, actions: Mapping[str, np.ndarray], whole: bool) -> None:
        """Go on from what `stacked` returned.

        Args:
            index: Of the environment.
            actions: `[steps, *shape]` by key.
            whole: Whether these are all actions since the reset.
        """
        steps = len(next(iter(actions.values()), ()))
        self._steps[index] = [
            {
                key: np.broadcast_to(value[step], (self._number, *value.shape[1:]))
                for key, value in actions.items()
            }
            for step in range(steps)
        ]
        self._whole[index] = whole
