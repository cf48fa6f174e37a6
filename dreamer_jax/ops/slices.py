"""Evaluating a function of very many rows part by part, so that what it makes fits a cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax


def in_slices(function: Callable[..., Any], most: int, *arrays: Any) -> Any:
    """Return `function(*arrays)`, evaluated for a few rows of the leading axis at a time.

    Slices are equal: their length is the largest divisor of L that `most` allows. Nothing but
    the arrays is kept for the backward pass, which evaluates `function` once more, slice by slice.
    Values and gradients are those of the whole.

    Args:
        function: Maps arrays `[l, ...]` to a tree of `[l, ...]`, every row by itself.
        most: Longest slice; 0: everything at once.
        *arrays: Trees of `[L, ...]`.
    """
    length = len(jax.tree.leaves(arrays)[0])
    if not most or length <= most:
        return function(*arrays)
    step = max(size for size in range(1, most + 1) if length % size == 0)
    parts = jax.tree.map(lambda x: x.reshape(-1, step, *x.shape[1:]), arrays)
    out = jax.lax.map(lambda part: jax.checkpoint(function)(*part), parts)
    return jax.tree.map(lambda x: x.reshape(length, *x.shape[2:]), out)
