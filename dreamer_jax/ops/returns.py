"""λ-returns, once for imagined and once for replayed sequences (docs/algorithm.md 7).

Both are time-major. Index t of `reward`, `live` and `boot` belongs to the *arrival* at step t, so
the return of step t reads index t + 1 only.
"""

import chex
import jax
import jax.numpy as jnp


def lambda_returns(
    reward: jax.Array, live: jax.Array, lambda_: jax.Array | float, boot: jax.Array
) -> jax.Array:
    """Return λ-returns, computed in log₂(T) steps instead of T.

        R_T = boot_T
        R_t = r_{t+1} + live_{t+1}·((1 − λ_{t+1})·boot_{t+1} + λ_{t+1}·R_{t+1})

    λ = 0 is the one-step return, λ = 1 the discounted sum bootstrapped at the end.

    Args:
        reward: `[T, ...]` of arriving at each step; index 0 is not read.
        live: `[T, ...]` discount times the probability that the episode goes on at each step.
        lambda_: Scalar, or `[T, ...]` to cut the trace where an episode ends.
        boot: `[T, ...]` value estimate of each step.

    Returns:
        `[T − 1, ...]` float32, differentiable in every argument.
    """
    chex.assert_equal_shape([reward, live, boot])
    lambda_ = jnp.broadcast_to(lambda_, boot.shape)[1:]
    reward, live, later = reward[1:], live[1:], boot[1:]
    # R_t = gain_t + keep_t·R_{t+1} is an affine map; composing the maps is associative.
    gain = reward + live * (1.0 - lambda_) * later
    keep = live * lambda_

    def compose(
        after: tuple[jax.Array, jax.Array], before: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        return before[0] + before[1] * after[0], before[1] * after[1]

    gain, keep = jax.lax.associative_scan(compose, (gain, keep), reverse=True)
    return gain + keep * boot[-1:]


def survival_weight(cont: jax.Array, discount: float) -> jax.Array:
    """Return the probability that imagination is still inside the episode, discounted.

        w_h = Π_{i ≤ h} discount·c_i / discount

    so w_0 = c_0 is the start's own probability of continuing. With the discount inside the
    continue head (contdisc) `discount` is 1.

    Args:
        cont: `[H+1, N]` continue probabilities.
        discount: Discount per step that is not already inside `cont`.
    """
    return jnp.cumprod(discount * cont, 0) / discount
