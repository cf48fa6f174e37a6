"""Moving percentiles of returns and the scale of advantages."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_jax.ops.percentile import init_return_stats, return_scale, update_return_stats

RETURNS = jnp.arange(101.0)  # percentile p is p


def test_first_update_starts_from_zero_without_debiasing() -> None:
    stats = update_return_stats(init_return_stats(), RETURNS, rate=0.01, low=5.0, high=95.0)
    np.testing.assert_allclose(stats["low"], 0.05, rtol=1e-5)
    np.testing.assert_allclose(stats["high"], 0.95, rtol=1e-5)


def test_later_updates_move_by_the_rate() -> None:
    stats = {"low": jnp.float32(-1.0), "high": jnp.float32(3.0)}
    stats = update_return_stats(stats, RETURNS, rate=0.25, low=10.0, high=90.0)
    np.testing.assert_allclose(stats["low"], 0.75 * -1 + 0.25 * 10, rtol=1e-5)
    np.testing.assert_allclose(stats["high"], 0.75 * 3 + 0.25 * 90, rtol=1e-5)


def test_percentiles_interpolate_over_all_values_of_any_shape() -> None:
    stats = init_return_stats()
    stats = update_return_stats(stats, jnp.array([[1.0], [0.0]]), rate=1.0, low=5.0, high=95.0)
    np.testing.assert_allclose([stats["low"], stats["high"]], [0.05, 0.95], rtol=1e-5)


def test_statistics_carry_no_gradient() -> None:
    def spread(returns: jax.Array) -> jax.Array:
        stats = update_return_stats(init_return_stats(), returns, rate=1.0, low=5.0, high=95.0)
        return return_scale(stats, 1.0)

    assert not jax.grad(spread)(RETURNS).any()


@pytest.mark.parametrize(("high", "expected"), [(2.9, 1.0), (7.0, 5.0), (2.0, 1.0)])
def test_scale_is_the_range_but_never_below_the_limit(high: float, expected: float) -> None:
    stats = {"low": jnp.float32(2.0), "high": jnp.float32(high)}
    np.testing.assert_allclose(return_scale(stats, 1.0), expected, rtol=1e-6)
