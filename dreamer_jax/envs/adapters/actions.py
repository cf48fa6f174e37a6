"""Actions as the agent sees them: class indices, and continuous values in [−1, 1].

Every suite turns its own bounds into this one convention here, so that the agent's actor
(docs/algorithm.md 5) never meets an environment's units. Also the random and empty actions that
prefill, benchmarks and reset records need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from dreamer_jax.types import Space

# Boxes that mean "no bound" often say so with the largest float instead of infinity.
_UNBOUNDED = float(np.finfo(np.float32).max) / 2
_MOST_TOLD = 3  # intervals in one note


def action_range(
    low: np.ndarray, high: np.ndarray, dtype: np.dtype
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the map from [−1, 1] to an environment's own continuous range.

    Values are clipped to [−1, 1] and mapped affinely to the environment's interval (`_reach`).

    Args:
        low: Lower bounds, the shape of the action; −inf for none.
        high: Upper bounds likewise.
        dtype: What the environment expects.
    """
    bottom, top, _ = _reach(low, high)
    half, centre = (top - bottom) / 2, (top + bottom) / 2

    def to_environment(action: np.ndarray) -> np.ndarray:
        value = np.clip(np.asarray(action, np.float64), -1.0, 1.0) * half + centre
        return np.clip(value, bottom, top).astype(dtype)

    return to_environment


def missing_bounds(key: str, low: np.ndarray | float, high: np.ndarray | float) -> list[str]:
    """Return a note for `check` if a continuous action lacks bounds; none if it has all."""
    bottom, top, bounded = _reach(low, high)
    if bounded.all():
        return []
    pairs = zip(bottom[~bounded].flat, top[~bounded].flat, strict=True)
    reached = list(dict.fromkeys(f"{b:g} … {t:g}" for b, t in pairs))
    told = ", ".join([*reached[:_MOST_TOLD], *["…"][: len(reached) > _MOST_TOLD]])
    count = f" lacks bounds of {(~bounded).sum()} of {bounded.size} elements"
    return [
        f"action {key!r}{count if bounded.size > 1 else ' lacks a bound'}; the agent acts in "
        f"{told}; give it finite bounds if it shall reach further"
    ]


def _reach(
    low: np.ndarray | float, high: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what the agent's −1 and 1 stand for, and which elements have both bounds.

    With both bounds: these. Otherwise the interval as long as [−1, 1] and nearest to it that keeps
    to the bound there is: [0, ∞) becomes [0, 2], (−∞, ∞) and [−5, ∞) become [−1, 1]. So one unit
    of the agent is one of the environment, and no part of its range goes to the same action.
    """
    low, high = np.broadcast_arrays(np.asarray(low, np.float64), np.asarray(high, np.float64))
    has_low, has_high = np.abs(low) < _UNBOUNDED, np.abs(high) < _UNBOUNDED
    moved = np.where(
        has_low, np.maximum(low, -1.0), np.where(has_high, np.minimum(high, 1.0) - 2, -1.0)
    )
    bounded = has_low & has_high
    return np.where(bounded, low, moved), np.where(bounded, high, moved + 2), bounded


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
    """Return `[number, *shape]` zeros: the action of an `is_last` record (docs/algorithm.md 1)."""
    return {key: np.zeros((number, *s.shape), s.dtype) for key, s in sorted(spaces.items())}
