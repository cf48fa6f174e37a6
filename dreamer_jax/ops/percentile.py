"""Scale of returns from moving percentiles (docs/algorithm.md 7)."""

import jax
import jax.numpy as jnp

ReturnStats = dict[str, jax.Array]  # {"low": [], "high": []} moving percentiles of returns


def init_return_stats() -> ReturnStats:
    """Return statistics that start at 0 and are not debiased."""
    return {"low": jnp.zeros(()), "high": jnp.zeros(())}


def update_return_stats(
    stats: ReturnStats, returns: jax.Array, *, rate: float, low: float, high: float
) -> ReturnStats:
    """Move the percentiles towards those of this batch of returns.

        stat ← (1 − rate)·stat + rate·percentile(returns)

    Args:
        stats: Present percentiles.
        returns: Any shape; linear interpolation over all values; no gradient.
        rate: Share of the new batch.
        low: Lower percentile, 0 to 100.
        high: Upper percentile, 0 to 100.
    """
    levels = jnp.array([low, high])
    new_low, new_high = jnp.percentile(jax.lax.stop_gradient(returns), levels)
    batch = {"low": new_low, "high": new_high}
    return {name: (1.0 - rate) * stats[name] + rate * batch[name] for name in stats}


def return_scale(stats: ReturnStats, limit: float) -> jax.Array:
    """Return the divisor of advantages, `max(limit, high − low)`."""
    return jnp.maximum(limit, stats["high"] - stats["low"])
