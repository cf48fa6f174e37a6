"""The optimiser against numbers by hand: AGC, LaProp's order, warm-up, decays, weight decay."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dreamer_jax.optim import clip_by_agc, learning_rate_schedule, make_optimizer

Tree = dict[str, Any]


def _clip(grad: Any, param: Any) -> np.ndarray:
    clip = clip_by_agc(0.3)
    params = {"a": jnp.asarray(param, jnp.float32)}
    clipped, _ = clip.update({"a": jnp.asarray(grad, jnp.float32)}, clip.init(params), params)
    return np.asarray(clipped["a"])


@pytest.mark.parametrize(
    ("grad", "param", "expected"),
    [
        ([0.0, 6.0], [3.0, 4.0], [0.0, 1.5]),  # ‖w‖ = 5: at most 1.5
        ([0.0, -1.5], [3.0, 4.0], [0.0, -1.5]),  # exactly at the bound
        ([0.3, 0.4], [3.0, 4.0], [0.3, 0.4]),  # below it: untouched
        ([0.0, 1.0], [0.0, 0.0], [0.0, 3e-4]),  # zero weights count as 1e-3
        ([0.0, 0.0], [3.0, 4.0], [0.0, 0.0]),  # no gradient, no 0/0
        # One norm per tensor: a norm per unit would clip the first column to 0.9.
        ([[6.0, 0.0], [0.0, 0.0]], [[3.0, 0.0], [0.0, 4.0]], [[1.5, 0.0], [0.0, 0.0]]),
    ],
)
def test_agc_by_hand(grad: Any, param: Any, expected: Any) -> None:
    np.testing.assert_allclose(_clip(grad, param), expected, rtol=1e-6)


def test_agc_treats_every_tensor_by_itself() -> None:
    params = {"kernel": jnp.full(1, 10.0), "bias": jnp.ones(1), "scale": jnp.full(1, 2.0)}
    clip = clip_by_agc(0.3)
    grads, _ = clip.update(jax.tree.map(lambda x: 9 * x, params), clip.init(params), params)
    clipped = {name: float(value[0]) for name, value in grads.items()}
    assert clipped == pytest.approx({"kernel": 3.0, "bias": 0.3, "scale": 0.6})


def _run(grads: list[float], **options: Any) -> np.ndarray:
    """Return the updates of one scalar weight at learning rate 1, without clipping."""
    settings = {"agc": 1e9, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-20, "weight_decay": 0.0}
    optimizer = make_optimizer({"m": optax.constant_schedule(1.0)}, **(settings | options))
    params = {"m": {"kernel": jnp.ones(1)}}
    state, updates = optimizer.init(params), []
    update = jax.jit(optimizer.update)
    for grad in grads:
        step, state = update({"m": {"kernel": jnp.full(1, grad)}}, state, params)
        updates.append(step["m"]["kernel"][0])
    return np.array(updates)


def test_laprop_divides_before_momentum() -> None:
    """Adam divides after it: its second update of these gradients would be −0.807."""
    # ν̂ = 1, then (0.999·0.001·1 + 0.001·100)/(1 − 0.999²) = 50.525; d = 1, then 10/√50.525
    # μ̂ = 1, then (0.9·0.1·1 + 0.1·1.40684)/(1 − 0.9²)
    np.testing.assert_allclose(_run([1.0, 10.0]), [-1.0, -1.214126], rtol=1e-4)


def test_laprop_agrees_with_a_plain_loop() -> None:
    grads = np.random.default_rng(0).normal(size=11)
    nu = mu = 0.0
    expected = []
    for t, grad in enumerate(grads, 1):
        nu = 0.999 * nu + 0.001 * grad**2
        mu = 0.9 * mu + 0.1 * grad / (np.sqrt(nu / (1 - 0.999**t)) + 1e-20)
        expected.append(-mu / (1 - 0.9**t))
    np.testing.assert_allclose(_run(list(grads)), expected, rtol=1e-3)


def test_bias_correction_makes_the_first_update_full_size() -> None:
    np.testing.assert_allclose(_run([1e-6]), [-1.0], rtol=1e-5)


def test_epsilon_is_added_outside_the_root() -> None:
    np.testing.assert_allclose(_run([1.0], epsilon=1.0), [-0.5], rtol=1e-5)  # inside: −0.707


def test_no_gradient_means_no_update() -> None:
    np.testing.assert_array_equal(_run([0.0, 0.0]), [0.0, 0.0])


@pytest.mark.parametrize(
    ("update", "expected"), [(0, 0.0), (1, 0.004), (500, 2.0), (1000, 4.0), (90_000, 4.0)]
)
def test_warm_up_counts_updates_from_zero(update: int, expected: float) -> None:
    schedule = learning_rate_schedule(4.0, 1000)
    np.testing.assert_allclose(schedule(update), expected, rtol=1e-4)


def test_no_warm_up() -> None:
    assert learning_rate_schedule(4.0, 0)(0) == 4.0


@pytest.mark.parametrize(
    ("decay", "update", "expected"),
    [
        ("linear", 10, 1.0),
        ("linear", 60, 0.55),
        ("linear", 110, 0.1),
        ("linear", 900, 0.1),
        ("cosine", 10, 1.0),
        ("cosine", 35, 0.1 + 0.45 * (1 + np.sqrt(0.5))),  # a quarter of the way
        ("cosine", 60, 0.55),
        ("cosine", 110, 0.1),
        ("cosine", 900, 0.1),
    ],
)
def test_decays_end_at_a_tenth(decay: str, update: int, expected: float) -> None:
    schedule = learning_rate_schedule(1.0, 10, decay, 110)
    np.testing.assert_allclose(schedule(update), expected, rtol=1e-4)
    np.testing.assert_allclose(schedule(5), 0.5, rtol=1e-5)


def test_impossible_schedules_are_refused() -> None:
    with pytest.raises(ValueError, match="decay='step' is unknown; use const, linear or cosine"):
        learning_rate_schedule(1.0, 10, "step", 100)
    with pytest.raises(ValueError, match="decay_updates=10 must exceed warmup=10"):
        learning_rate_schedule(1.0, 10, "linear", 10)


def _updates(grads: Tree, params: Tree, rates: dict[str, float], **options: Any) -> list[Tree]:
    """Return the first three updates of a small tree, warming up over two of them."""
    settings = {"agc": 0.3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-20, "weight_decay": 0.0}
    schedules = {name: learning_rate_schedule(rate, 2) for name, rate in rates.items()}
    optimizer = make_optimizer(schedules, **(settings | options))
    state, result = optimizer.init(params), []
    for _ in range(3):
        update, state = optimizer.update(grads, state, params)
        result.append(update)
    return result


def test_modules_have_their_own_rates_and_one_warm_up() -> None:
    params = {"world": {"kernel": jnp.ones(2)}, "actor": {"kernel": jnp.ones(2)}}
    steps = _updates(params, params, {"world": 1.0, "actor": 0.25})
    for step, share in zip(steps, (0.0, 0.5, 1.0), strict=True):
        np.testing.assert_allclose(step["world"]["kernel"], np.full(2, -share), rtol=1e-5)
        np.testing.assert_allclose(step["actor"]["kernel"], np.full(2, -0.25 * share), rtol=1e-5)


def test_a_module_without_a_rate_is_refused() -> None:
    params = {"world": {"kernel": jnp.ones(2)}, "planner": {"kernel": jnp.ones(2)}}
    with pytest.raises(ValueError, match=r"no learning rate for modules \['planner'\]"):
        _updates(params, params, {"world": 1.0})


def test_weight_decay_is_decoupled_and_spares_biases_and_scales() -> None:
    params = {"m": {name: jnp.full(2, 4.0) for name in ("kernel", "bias", "scale")}}
    nothing = jax.tree.map(jnp.zeros_like, params)
    last = _updates(nothing, params, {"m": 0.5}, weight_decay=0.1)[-1]["m"]
    np.testing.assert_allclose(last["kernel"], np.full(2, -0.5 * 0.1 * 4.0), rtol=1e-5)
    assert not last["bias"].any() and not last["scale"].any()
