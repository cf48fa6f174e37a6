"""λ-returns and survival weights against numbers by hand and a NumPy double loop."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_jax.ops.returns import lambda_returns, survival_weight

T, N = 7, 3
RNG = np.random.default_rng(5)


def _inputs() -> dict[str, Any]:
    return {
        "reward": RNG.normal(size=(T, N)).astype(np.float32),
        "live": RNG.uniform(0.1, 1.0, (T, N)).astype(np.float32),
        "lambda_": RNG.uniform(0.1, 1.0, (T, N)).astype(np.float32),
        "boot": RNG.normal(size=(T, N)).astype(np.float32),
    }


def _double_loop(
    reward: np.ndarray, live: np.ndarray, lambda_: np.ndarray, boot: np.ndarray
) -> np.ndarray:
    """Return every step's own weighted sum of n-step returns, without recursion."""
    returns = np.zeros((T - 1, N))
    for start in range(T - 1):
        alive, trace = np.ones(N), np.ones(N)
        for step in range(start + 1, T):
            returns[start] += alive * trace * reward[step]
            alive = alive * live[step]
            share = 1.0 if step == T - 1 else 1.0 - lambda_[step]
            returns[start] += alive * trace * share * boot[step]
            trace = trace * lambda_[step]
    return returns


def test_three_steps_by_hand() -> None:
    reward, live = jnp.array([9.0, 1.0, 2.0, 3.0]), jnp.array([9.0, 0.5, 0.5, 0.5])
    boot = jnp.array([9.0, 10.0, 20.0, 30.0])
    # R2 = 3 + ½(½·30 + ½·30), R1 = 2 + ½(½·20 + ½·18), R0 = 1 + ½(½·10 + ½·11.5)
    np.testing.assert_allclose(lambda_returns(reward, live, 0.5, boot), [6.375, 11.5, 18.0])


def test_double_loop_oracle() -> None:
    inputs = _inputs()
    np.testing.assert_allclose(lambda_returns(**inputs), _double_loop(**inputs), rtol=1e-5)


def test_lambda_zero_looks_one_step_ahead() -> None:
    inputs = _inputs() | {"lambda_": 0.0}
    expected = inputs["reward"][1:] + inputs["live"][1:] * inputs["boot"][1:]
    np.testing.assert_allclose(lambda_returns(**inputs), expected, rtol=1e-5)


def test_lambda_one_bootstraps_only_at_the_end() -> None:
    inputs = _inputs() | {"lambda_": 1.0}
    expected = inputs["boot"][-1]
    for reward, live in zip(inputs["reward"][:0:-1], inputs["live"][:0:-1], strict=True):
        expected = reward + live * expected
    np.testing.assert_allclose(lambda_returns(**inputs)[0], expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["reward", "live", "lambda_", "boot"])
def test_every_argument_matters_from_index_one_on(name: str) -> None:
    """An argument may be checked for its shape and then never enter the result."""
    inputs = _inputs()
    base = lambda_returns(**inputs)
    for index in range(T):
        moved = inputs | {name: inputs[name].copy()}
        moved[name][index] += 0.1
        changed = np.any(np.abs(lambda_returns(**moved) - base) > 1e-6, axis=1)
        # λ at the last step splits between two equal values, boot and R.
        silent = index == 0 or (name == "lambda_" and index == T - 1)
        np.testing.assert_array_equal(changed[:index], not silent)
        assert not changed[index:].any()


def test_gradients_reach_every_argument() -> None:
    inputs = _inputs()
    total = lambda tree: lambda_returns(**tree).sum()
    grads = jax.jit(jax.grad(total))(inputs)
    assert all((grads[name][1:-1] != 0).all() for name in inputs)


def test_shapes_must_agree() -> None:
    with pytest.raises(AssertionError):
        lambda_returns(jnp.zeros((T, N)), jnp.zeros((T, N)), 0.5, jnp.zeros((T, 1)))


@pytest.mark.parametrize(
    ("discount", "expected"),
    [(1.0, [0.9, 0.72, 0.36]), (0.5, [0.9, 0.36, 0.09])],
)
def test_weight_starts_with_the_starts_own_continuation(
    discount: float, expected: list[float]
) -> None:
    """w0 = c0, w1 = c0·γc1, w2 = c0·γc1·γc2: never the outcome of the step's own action."""
    cont = jnp.array([[0.9], [0.8], [0.5]])
    np.testing.assert_allclose(survival_weight(cont, discount)[:, 0], expected, rtol=1e-6)


def test_nothing_counts_after_an_imagined_end() -> None:
    cont = jnp.array([[1.0], [0.0], [1.0], [1.0]])
    np.testing.assert_array_equal(survival_weight(cont, 1.0)[:, 0], [1, 0, 0, 0])
