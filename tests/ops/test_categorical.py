"""Categorical latents: hand-computed values, and Distrax as the oracle."""

from __future__ import annotations

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from dreamer_jax.ops.categorical import (
    categorical_entropy,
    categorical_kl,
    mixed_log_probs,
    straight_through,
)

RNG = np.random.default_rng(3)
S, K = 3, 5


def _logits(*shape: int) -> jax.Array:
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def test_mixed_log_probs_by_hand() -> None:
    logits = jnp.log(jnp.array([3.0, 1.0]))  # softmax 0.75, 0.25
    mixed = mixed_log_probs(logits, 0.2)  # 0.8·p + 0.1
    np.testing.assert_allclose(jnp.exp(mixed), [0.7, 0.3], rtol=1e-6)


def test_the_uniform_share_is_a_floor() -> None:
    mixed = jnp.exp(mixed_log_probs(jnp.array([200.0, 0.0, -200.0, 0.0, 0.0]), 0.01))
    np.testing.assert_allclose(mixed, [0.992, 0.002, 0.002, 0.002, 0.002], rtol=1e-6)


def test_mixed_probabilities_sum_to_one() -> None:
    total = jnp.exp(mixed_log_probs(10 * _logits(7, K), 0.01)).sum(-1)
    np.testing.assert_allclose(total, np.ones(7), rtol=1e-6)


def test_without_mix_it_is_the_log_softmax() -> None:
    """In probability space the first value would be log(0) = −inf."""
    extreme = jnp.array([-1000.0, 0.0, -1000.0])
    np.testing.assert_allclose(mixed_log_probs(extreme, 0.0), [-1000.0, 0.0, -1000.0])


def test_narrow_logits_are_mixed_in_float32() -> None:
    assert mixed_log_probs(jnp.zeros(K, jnp.bfloat16), 0.01).dtype == jnp.float32


def test_straight_through_values_are_exactly_zero_or_one() -> None:
    probs = jnp.exp(mixed_log_probs(_logits(101, S, K), 0.01))
    index = jnp.asarray(RNG.integers(0, K, (101, S)), jnp.int32)
    value = jax.jit(straight_through)(index, probs)
    np.testing.assert_array_equal(value, np.eye(K)[np.asarray(index)])


def test_straight_through_has_the_jacobian_of_the_mixed_probabilities() -> None:
    logits, index, unimix = _logits(K), jnp.int32(2), 0.01

    def sample(logits: jax.Array) -> jax.Array:
        return straight_through(index, jnp.exp(mixed_log_probs(logits, unimix)))

    softmax = np.asarray(jax.nn.softmax(logits), np.float64)
    expected = (1 - unimix) * (np.diag(softmax) - np.outer(softmax, softmax))
    np.testing.assert_allclose(jax.jacobian(sample)(logits), expected, atol=1e-6)


def test_kl_by_hand_summed_over_groups() -> None:
    p = jnp.log(jnp.array([[0.5, 0.5], [0.25, 0.75]]))
    q = jnp.log(jnp.array([[0.25, 0.75], [0.25, 0.75]]))
    expected = 0.5 * np.log(2) + 0.5 * np.log(2 / 3)  # the second group adds nothing
    np.testing.assert_allclose(categorical_kl(p, q), expected, rtol=1e-5)


def test_kl_agrees_with_distrax() -> None:
    p, q = (mixed_log_probs(_logits(7, S, K), 0.01) for _ in range(2))
    oracle = distrax.Categorical(p).kl_divergence(distrax.Categorical(q)).sum(-1)
    np.testing.assert_allclose(categorical_kl(p, q), oracle, rtol=1e-5)


def test_entropy_by_hand_and_by_distrax() -> None:
    log_p = jnp.log(jnp.array([[0.5, 0.5], [0.25, 0.75]]))
    expected = np.log(2) - 0.25 * np.log(0.25) - 0.75 * np.log(0.75)
    np.testing.assert_allclose(categorical_entropy(log_p), expected, rtol=1e-6)
    log_p = mixed_log_probs(_logits(7, S, K), 0.01)
    oracle = distrax.Categorical(log_p).entropy().sum(-1)
    np.testing.assert_allclose(categorical_entropy(log_p), oracle, rtol=1e-5)
