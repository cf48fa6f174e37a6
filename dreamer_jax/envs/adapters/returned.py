"""What `reset` and `step` of somebody's simulator return, read strictly.

A wrong form is one clear line here; further on it would be a traceback of NumPy's, or a number that
nobody meant.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dreamer_jax.errors import RecordError

_NUMBERS = (float, int, np.floating, np.integer)


def reward_of(value: Any) -> float:
    """Return a reward: a number, or an array of one element.

    Raises:
        RecordError: If it is anything else.
    """
    if isinstance(value, _NUMBERS):
        return float(value)
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "biuf":
        found = described(value) if array.ndim else repr(value)
        raise RecordError(f"the reward is {found}, not one number")
    return float(array.item())


def described(value: Any) -> str:
    """Return what a value is, in a few words."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} of {len(value)}"
    return type(value).__name__
