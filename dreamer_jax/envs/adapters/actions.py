"""Actions as the agent sees them: class indices, and continuous values in [−1, 1].

Every suite turns its own bounds into this one convention here, so that the agent's actor
(SPEC 5) never meets an environment's units. Also the random and empty actions that prefill,
benchmarks and reset records need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from dreamer_jax.types import Space

# Boxes that mean "no bound" often say so with the largest float instead of infinity.
_UNBOUNDED = float(np.finfo(np.float32).max) / 2


def action_range(
    low: np.ndarray, high: np.ndarray, dtype: np.dtype
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the map from [−1, 1] to an environment's own continuous range.

    Values are clipped to [−1, 1]. An element with both bounds is mapped affinely to
    [low, high]; one with a bound missing keeps its value, clipped to the bound it has.

    Args:
        low: Lower bounds, the shape of the action; −inf for none.
        high: Upper bounds likewise.
        dtype: What the environment expects.
    """
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    bounded = (np.abs(low) < _UNBOUNDED) & (np.abs(high) < _UNBOUNDED)
    # Without both bounds the range is [−1, 1] itself.
    bottom, top = np.where(bounded, low, -1.0), np.where(bounded, high, 1.0)
    half, centre = (top - bottom) / 2, (top + bottom) / 2

    def to_environment(action: np.ndarray) -> np.ndarray:
        value = np.clip(np.asarray(action, np.float64), -1.0, 1.0) * half + centre
        return np.clip(value, low, high).astype(dtype)

    return to_environment


def random_actions(
    spaces: Mapping[str, Space], rng: np.random.Generator, number: int
) -> dict[str, np.ndarray]:
    """Draw `[number, *shape]` actions uniformly, in key order so that one `rng` gives one result.

    Args:
        spaces: Action spaces by key.
        rng: Advanced by the draw.
        number: How many environments act.
    """
    actions = {}
    for key in sorted(spaces):
        space = spaces[key]
        shape = (number, *space.shape)
        if space.classes is not None:
            actions[key] = rng.integers(space.classes, size=shape).astype(space.dtype)
        else:
            actions[key] = rng.uniform(-1.0, 1.0, shape).astype(space.dtype)
    return actions


def zero_actions(spaces: Mapping[str, Space], number: int) -> dict[str, np.ndarray]:
    """Return `[number, *shape]` zeros: the action of an `is_last` record (SPEC 1)."""
    return {key: np.zeros((number, *s.shape), s.dtype) for key, s in sorted(spaces.items())}
