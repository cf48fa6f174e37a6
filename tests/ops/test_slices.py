"""Slices change neither values nor gradients, and are as long as they may be."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import quick_jit

from dreamer_jax.ops.slices import in_slices, mean_at_once, mean_in_slices

L, N, F = 6, 5, 3
RNG = np.random.default_rng(37)
X = jnp.asarray(RNG.normal(size=(L, N, F)), jnp.float32)
Y = {"a": jnp.asarray(RNG.normal(size=(L, N)), jnp.float32)}
W = jnp.asarray(RNG.normal(size=(F, 2)), jnp.float32)


def _run(most: int, w: jax.Array, x: jax.Array) -> tuple[jax.Array, Any]:
    function = lambda x, y: (jnp.tanh(x @ w), {"b": y["a"] * x[..., 0]})
    return in_slices(function, most, x, Y)


def _total(most: int, w: jax.Array, x: jax.Array) -> jax.Array:
    one, two = _run(most, w, x)
    return (one**2).sum() + two["b"].sum()


@pytest.mark.parametrize("most", [1, 2, 4, 6])
def test_values_and_gradients_are_those_of_the_whole(most: int) -> None:
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, _run(most, W, X), _run(0, W, X))
    grad = lambda most: quick_jit(jax.grad(lambda *a: _total(most, *a), argnums=(0, 1)))(W, X)
    jax.tree.map(close, grad(most), grad(0))


@pytest.mark.parametrize(("most", "length"), [(0, 6), (1, 1), (2, 2), (3, 3), (5, 3), (9, 6)])
def test_a_slice_is_the_longest_that_divides_the_whole(most: int, length: int) -> None:
    seen = []

    def function(x: jax.Array) -> jax.Array:
        seen.append(x.shape)
        return x

    in_slices(function, most, X)
    assert set(seen) == {(length, N, F)}


def test_nothing_inside_a_slice_is_kept_for_the_backward_pass() -> None:
    text = str(jax.make_jaxpr(jax.grad(lambda w: _total(2, w, X)))(W))
    assert "remat" in text or "checkpoint" in text


def _mean(most: int, w: jax.Array, factor: float = 1.0) -> tuple[jax.Array, jax.Array]:
    rows = lambda w, x, y: (jnp.tanh(x @ w).sum((1, 2)) + y["a"].sum(1), {"w": x[:, 0] @ w})
    loss, extras = mean_in_slices(rows, w, X, Y, most=most)
    return factor * loss, extras["w"]


@pytest.mark.parametrize("most", [1, 2, 4, 6])
def test_a_mean_and_its_gradient_are_those_of_the_whole(most: int) -> None:
    loss, extra = _mean(most, W)
    np.testing.assert_allclose(loss, (jnp.tanh(X @ W).sum() + Y["a"].sum()) / L, rtol=1e-5)
    np.testing.assert_allclose(extra, (X[:, 0] @ W).mean(0), rtol=1e-5)
    grad = quick_jit(jax.grad(lambda w: _mean(most, w, 7.0)[0]))(W)
    want = jax.grad(lambda w: 7.0 / L * jnp.tanh(X @ w).sum())(W)
    np.testing.assert_allclose(grad, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("most", [0, 2])
def test_what_comes_with_a_mean_has_no_gradient(most: int) -> None:
    assert not jax.grad(lambda w: _mean(most, w)[1].sum())(W).any()


@pytest.mark.parametrize("most", [0, 2])
def test_the_arrays_of_a_mean_have_no_gradient(most: int) -> None:
    rows = lambda w, x: ((x @ w).sum((1, 2)), None)
    assert not jax.grad(lambda x: mean_in_slices(rows, W, x, most=most)[0])(X).any()


def test_each_slice_of_a_mean_is_evaluated_once_for_value_and_gradient() -> None:
    """The function's matrix product, and the one of its gradient: no third in a backward pass."""
    rows = lambda w, x: (jnp.tanh(x @ w).sum((1, 2)), None)
    grad = jax.value_and_grad(lambda w: mean_in_slices(rows, w, X, most=2)[0])
    assert str(jax.make_jaxpr(grad)(W)).count("dot_general") == 2


def test_a_mean_at_once_differentiates_its_arrays_too() -> None:
    """And is otherwise the mean in slices: what comes with it has no gradient there either."""
    rows = lambda w, x, y: (jnp.tanh(x @ w).sum((1, 2)) + y["a"].sum(1), {"w": x[:, 0] @ w})
    got, want = mean_at_once(rows, W, X, Y), mean_in_slices(rows, W, X, Y, most=2)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), got, want)
    grad = quick_jit(jax.grad(lambda *a: 7.0 * mean_at_once(rows, *a)[0], argnums=(0, 1, 2)))
    by_w, by_x, by_y = grad(W, X, Y)
    slope = 7.0 / L * (1 - np.tanh(np.asarray(X @ W)) ** 2)  # [L, N, 2]
    np.testing.assert_allclose(by_w, np.einsum("lnf,lno->fo", X, slope), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(by_x, slope @ np.asarray(W).T, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(by_y["a"], np.full((L, N), 7.0 / L), rtol=1e-6)
    extra = quick_jit(jax.grad(lambda *a: mean_at_once(rows, *a)[1]["w"].sum(), argnums=(0, 1)))
    assert not any(leaf.any() for leaf in extra(W, X, Y))
