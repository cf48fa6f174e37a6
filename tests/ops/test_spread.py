"""Functions of imagined states, cut into slices and over devices: as if nobody had cut them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import quick_jit

from dreamer_jax.ops.spread import Spread, merge_leading

H, N, F, U = 3, 5, 7, 2
RNG = np.random.default_rng(43)
X = jnp.asarray(RNG.normal(size=(H, N, F)), jnp.float32)
Y = {"a": jnp.asarray(RNG.normal(size=(H, N)), jnp.float32)}
W = jnp.asarray(RNG.normal(size=(F, U)), jnp.float32)
SLICES = [0, 1, 4, 5, 15, 99]  # of 15 states: 4 becomes 3, the longest that divides


def _answer(w: jax.Array, x: jax.Array, y: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {"out": jnp.tanh(x @ w), "scaled": x * y["a"][:, None]}


def _judge(
    w: jax.Array, x: jax.Array, y: dict[str, jax.Array]
) -> tuple[jax.Array, dict[str, jax.Array]]:
    return y["a"] * jnp.tanh(x @ w).sum(-1), {"first": x[:, 0], "out": x @ w}


def _assert_close(one: Any, two: Any) -> None:
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, one, two)


class RowsByHand:
    """Spreads rows over pretended devices, and remembers which axes it was told."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, Any]] = []

    def __call__(
        self,
        function: Callable[..., Any],
        shared: Any,
        *rows: Any,
        in_axes: Any = 0,
        out_axes: Any = 0,
    ) -> Any:
        self.asked.append((in_axes, out_axes))
        part = lambda a, b: function(shared, *jax.tree.map(lambda x: x[:, a:b], rows))
        if out_axes is None:  # equal shares, so that the mean is that of the means
            each = [part(index, index + 1) for index in range(N)]
            return jax.tree.map(lambda *x: sum(x[1:], start=x[0]) / N, *each)
        join = lambda x, y: jnp.concatenate([x, y], out_axes)
        return jax.tree.map(join, part(0, 2), part(2, N))


@pytest.mark.parametrize("slice_rows", SLICES)
def test_each_is_a_plain_loop_over_states(slice_rows: int) -> None:
    got = quick_jit(lambda *a: Spread(slice_rows=slice_rows).each(_answer, *a))(W, X, Y)
    x, a, w = (np.asarray(array, np.float64) for array in (X, Y["a"], W))
    want = {"out": np.zeros((H, N, U)), "scaled": np.zeros((H, N, F))}
    for h in range(H):
        for n in range(N):
            want["out"][h, n] = np.tanh(x[h, n] @ w)
            want["scaled"][h, n] = x[h, n] * a[h, n]
    _assert_close(got, want)


@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize("slice_rows", SLICES)
def test_mean_is_a_plain_loop_over_states(slice_rows: int, attached: bool) -> None:
    spread = Spread(slice_rows=slice_rows)
    loss, extras = quick_jit(lambda *a: spread.mean(_judge, *a, attached=attached))(W, X, Y)
    x, a, w = (np.asarray(array, np.float64) for array in (X, Y["a"], W))
    total, first, out = 0.0, 0.0, np.zeros(U)
    for h in range(H):
        for n in range(N):
            total += a[h, n] * np.tanh(x[h, n] @ w).sum()
            first += x[h, n, 0]
            out += x[h, n] @ w
    assert loss.shape == extras["first"].shape == ()
    _assert_close(
        (loss, extras), (total / (H * N), {"first": first / (H * N), "out": out / (H * N)})
    )


def _gradients(spread: Spread, attached: bool, part: int) -> Any:
    """Return the gradients of loss (part 0) or extras (part 1), by parameters and trees."""

    def value(w: jax.Array, x: jax.Array, y: dict[str, jax.Array]) -> jax.Array:
        found = spread.mean(_judge, w, x, y, attached=attached)[part]
        return 7.0 * sum(leaf.sum() for leaf in jax.tree.leaves(found))

    return quick_jit(jax.grad(value, argnums=(0, 1, 2)))(W, X, Y)


@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize("slice_rows", SLICES)
def test_a_mean_has_the_gradients_that_were_asked_for(slice_rows: int, attached: bool) -> None:
    """Parameters always, states only if attached; a slice must not make an attached one cheap."""
    by_w, by_x, by_y = _gradients(Spread(slice_rows=slice_rows), attached, 0)
    x, a, w = (np.asarray(array, np.float64) for array in (X, Y["a"], W))
    slope = 7.0 / (H * N) * (1 - np.tanh(x @ w) ** 2) * a[..., None]  # [H, N, U]
    _assert_close(by_w, np.einsum("hnf,hno->fo", x, slope))
    if attached:
        _assert_close(by_x, slope @ w.T)
        _assert_close(by_y["a"], 7.0 / (H * N) * np.tanh(x @ w).sum(-1))
    else:
        assert not by_x.any() and not by_y["a"].any()


@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize("slice_rows", [0, 4])
def test_what_comes_with_a_mean_has_no_gradient(slice_rows: int, attached: bool) -> None:
    grads = _gradients(Spread(slice_rows=slice_rows), attached, 1)
    assert not any(leaf.any() for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("slice_rows", [0, 4])
def test_each_has_the_gradients_of_the_whole(slice_rows: int) -> None:
    def total(w: jax.Array, x: jax.Array) -> jax.Array:
        out = Spread(slice_rows=slice_rows).each(_answer, w, x, Y)
        return (out["out"] ** 2).sum() + out["scaled"].sum()

    by_w, by_x = quick_jit(jax.grad(total, argnums=(0, 1)))(W, X)
    x, a, w = (np.asarray(array, np.float64) for array in (X, Y["a"], W))
    tanh = np.tanh(x @ w)
    slope = 2 * tanh * (1 - tanh**2)
    _assert_close(by_w, np.einsum("hnf,hno->fo", x, slope))
    _assert_close(by_x, slope @ w.T + a[..., None])


@pytest.mark.parametrize("slice_rows", [0, 2])
def test_starts_are_spread_along_their_own_axis_and_means_over_all(slice_rows: int) -> None:
    """The states of one start stay together: axis 1 of `[H, N]`, not 0."""
    rows = RowsByHand()
    spread = Spread(rows, slice_rows)
    _assert_close(spread.each(_answer, W, X, Y), Spread().each(_answer, W, X, Y))
    _assert_close(spread.mean(_judge, W, X, Y), Spread().mean(_judge, W, X, Y))
    assert rows.asked == [(1, 1), (1, None)]


def test_merging_keeps_the_states_of_one_step_together() -> None:
    merged = merge_leading({"x": X, "y": Y})
    np.testing.assert_array_equal(merged["x"], np.asarray(X).reshape(H * N, F))
    np.testing.assert_array_equal(merged["y"]["a"][N], Y["a"][1, 0])
