"""Symmetric logarithm: squashes values of unknown scale.

Nature 2025, eq. 1; docs/algorithm.md 3.
"""

import jax
import jax.numpy as jnp


def symlog(x: jax.Array) -> jax.Array:
    """Return `sign(x)·ln(|x| + 1)`, the inverse of `symexp`."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def symexp(x: jax.Array) -> jax.Array:
    """Return `sign(x)·(exp(|x|) − 1)`, the inverse of `symlog`."""
    return jnp.sign(x) * jnp.expm1(jnp.abs(x))
