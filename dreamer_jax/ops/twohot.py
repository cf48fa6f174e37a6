"""Symexp-two-hot regression: a categorical over exponentially spaced bins.

The equations are those of docs/algorithm.md 5. The bins are symmetric about zero and the mean
weighs differences of mirrored probabilities, so uniform ones (a head whose kernel starts at zero)
predict exactly 0 and not a rounding error of symexp(20).
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np


def symexp_bins(number: int) -> np.ndarray:
    """Return the bin values `symexp(linspace(−20, 20, number))`, mirrored exactly about 0.

    Args:
        number: Odd count of bins, so that one of them is 0.

    Returns:
        `[number]` float32, ascending. NumPy, so that no device array lives outside a trace.

    Raises:
        ValueError: If `number` is even or below 3.
    """
    if number < 3 or number % 2 == 0:
        raise ValueError(f"bins={number}: the count of two-hot bins must be odd and at least 3")
    half = np.linspace(-20.0, 0.0, number // 2 + 1, dtype=np.float32)
    half = np.sign(half) * np.expm1(np.abs(half))
    return np.concatenate([half, -half[:-1][::-1]])


def twohot_loss(logits: jax.Array, target: jax.Array, bins: np.ndarray) -> jax.Array:
    """Return the cross-entropy between `softmax(logits)` and the two-hot encoding of `target`.

        loss = logsumexp(l) − (1 − α)·l[k] − α·l[k+1],   target = (1 − α)·bin[k] + α·bin[k+1]

    Weights interpolate linearly in raw space and are clipped at both ends, so the dense target
    is never built.

    Args:
        logits: `[..., bins]` float32.
        target: `[...]` float32; treated as data (no gradient).
        bins: `[bins]` ascending bin values.
    """
    chex.assert_equal_shape_prefix([logits, target], target.ndim)
    target = jax.lax.stop_gradient(target)
    below = jnp.clip(jnp.searchsorted(bins, target, side="right") - 1, 0, len(bins) - 2)
    values = jnp.asarray(bins)
    low, high = values[below], values[below + 1]
    alpha = jnp.clip((target - low) / (high - low), 0.0, 1.0)

    def pick(index: jax.Array) -> jax.Array:
        return jnp.take_along_axis(logits, index[..., None], -1)[..., 0]

    chosen = (1.0 - alpha) * pick(below) + alpha * pick(below + 1)
    return jax.nn.logsumexp(logits, -1) - chosen


def twohot_mean(logits: jax.Array, bins: np.ndarray) -> jax.Array:
    """Return `Σ p·bin` of `softmax(logits)` from the surplus of each bin over its mirror image.

        mean = Σ_{i < half} (p_i − p_{n−1−i})·bin_i

    Args:
        logits: `[..., bins]` float32.
        bins: `[bins]` ascending bin values, symmetric about 0.

    Returns:
        `[...]`; exactly 0 where the probabilities are symmetric.
    """
    half = len(bins) // 2
    weights = jnp.exp(logits - jax.lax.stop_gradient(logits.max(-1, keepdims=True)))
    surplus = weights[..., :half] - weights[..., :half:-1]
    # Products with constants instead of broadcasts: those would be stored in full on a CPU.
    highest = jax.lax.Precision.HIGHEST
    weighted = jnp.matmul(surplus, bins[:half], precision=highest)
    return weighted / weights.sum(-1)
