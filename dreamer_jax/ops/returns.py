"""λ-returns, once for imagined and once for replayed sequences (SPEC 7).

Both are time-major. Index t of `reward`, `live` and `boot` belongs to the *arrival* at step t, so
the return of step t reads index t + 1 only.
"""

import chex
import jax
import jax.numpy as jnp


def lambda_returns(
    reward: jax.Array, live: jax.Array, lambda_: jax.Array | float, boot: jax.Array
) -> jax.Array:
    """Return λ-returns by one backward pass over time.

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
    lambdas = jnp.broadcast_to(lambda_, boot.shape)

    def backward(later: jax.Array, now: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        reward, live, lambda_, boot = now
        value = reward + live * ((1.0 - lambda_) * boot + lambda_ * later)
        return value, value

    inputs = tuple(x[1:] for x in (reward, live, lambdas, boot))
    _, returns = jax.lax.scan(backward, boot[-1], inputs, reverse=True, unroll=True)
    return returns


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
