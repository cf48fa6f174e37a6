"""Categorical latents with a uniform share: probabilities, divergence, entropy.

The equations are those of docs/algorithm.md 4. Every use (sampling, KL, entropy) takes the mixed
probabilities, never the raw softmax.
"""

import chex
import jax
import jax.numpy as jnp


def mixed_probs(logits: jax.Array, unimix: float) -> jax.Array:
    """Return `(1 − u)·softmax(logits) + u/K` over the last axis, in float32."""
    probs = jax.nn.softmax(logits.astype(jnp.float32), -1)
    return (1.0 - unimix) * probs + unimix / logits.shape[-1] if unimix else probs


def mixed_log_probs(logits: jax.Array, unimix: float) -> jax.Array:
    """Return `log((1 − u)·softmax(logits) + u/K)` over the last axis, in float32.

    With u = 0 this is the log-softmax, evaluated without leaving log space.
    """
    if not unimix:
        return jax.nn.log_softmax(logits.astype(jnp.float32), -1)
    return jnp.log(mixed_probs(logits, unimix))


def straight_through(index: jax.Array, probs: jax.Array) -> jax.Array:
    """Return the one-hot of `index` with the gradient of `probs`.

    The value is exactly 0 or 1, because `p − sg(p)` is exactly 0 before it is added.

    Args:
        index: `[...]` integer class.
        probs: `[..., K]` probabilities that the index was drawn from.

    Returns:
        `[..., K]` in the dtype of `probs`.
    """
    chex.assert_equal_shape_prefix([index, probs], index.ndim)
    onehot = jax.nn.one_hot(index, probs.shape[-1], dtype=probs.dtype)
    return onehot + (probs - jax.lax.stop_gradient(probs))


def categorical_kl(log_p: jax.Array, log_q: jax.Array) -> jax.Array:
    """Return `KL(p ‖ q)` of independent categoricals, summed over groups.

    Args:
        log_p: `[..., S, K]` normalised log-probabilities.
        log_q: `[..., S, K]` likewise.

    Returns:
        `[...]` nats.
    """
    chex.assert_equal_shape([log_p, log_q])
    return (jnp.exp(log_p) * (log_p - log_q)).sum((-1, -2))


def categorical_entropy(log_p: jax.Array) -> jax.Array:
    """Return the entropy in nats of independent categoricals `[..., S, K]`, summed over groups."""
    return -(jnp.exp(log_p) * log_p).sum((-1, -2))
