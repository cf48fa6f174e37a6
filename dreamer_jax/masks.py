"""Masks of rows against arrays with more axes; NumPy and JAX arrays alike, importing neither."""

from __future__ import annotations

from dreamer_jax.types import Array


def widen(mask: Array, like: Array) -> Array:
    """Return a mask `[E]` with as many axes as an array `[E, ...]`, to be broadcast against it."""
    return mask.reshape(-1, *[1] * (like.ndim - 1))
