"""What raw outputs say, and the price of a wrong prediction, by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_jax.heads.predictions import (
    Bernoulli,
    Classes,
    Pixels,
    SymlogSquares,
    TwoHot,
    predict_key,
)
from dreamer_jax.types import Space

INT, FLOAT, BYTE = (np.dtype(x) for x in ("int32", "float32", "uint8"))
INF = float("inf")
BINS = np.array([-3.0, -1.0, 0.0, 1.0, 3.0], np.float32)


def test_continuous_loss_is_the_squared_error_to_symlog_summed_over_axes() -> None:
    space = Space(FLOAT, (2, 2))
    target = jnp.array([[[0.0, np.e - 1], [1 - np.e**2, 0.0]]])
    raw = jnp.array([[[0.5, 1.0], [1.0, -2.0]]])
    loss = SymlogSquares(raw, space).loss(target)
    np.testing.assert_allclose(loss, [0.25 + 0 + 9 + 4], rtol=1e-5)


def test_discrete_loss_is_the_cross_entropy_summed_over_axes() -> None:
    space = Space(INT, (2,), 4)
    raw = jnp.log(jnp.array([[[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]]]))
    loss = Classes(raw, space).loss(jnp.array([[1, 3]], jnp.int32))
    np.testing.assert_allclose(loss, [-np.log(0.2) - np.log(0.25)], rtol=1e-5)


def test_image_loss_is_the_squared_error_of_pixels_in_zero_to_one() -> None:
    space = Space(BYTE, (1, 2, 3))
    target = jnp.asarray(np.full((1, 1, 2, 3), 255, np.uint8)).at[0, 0, 0, 0].set(51)
    loss = Pixels(jnp.full((1, 1, 2, 3), 0.5), space).loss(target)
    np.testing.assert_allclose(loss, [5 * 0.25 + 0.09], rtol=1e-5)


def test_missing_values_cost_nothing() -> None:
    raw = jnp.array([[3.0, 1.0]])
    space = Space(FLOAT, (2,))
    target = jnp.array([[-INF, 0.0]])
    np.testing.assert_allclose(SymlogSquares(raw, space).loss(target), [1.0])
    grad = jax.grad(lambda raw: SymlogSquares(raw, space).loss(target).sum())(raw)
    np.testing.assert_allclose(grad, [[0.0, 2.0]])
    token = Classes(jnp.zeros((1, 2, 4)), Space(INT, (2,), 4)).loss(jnp.array([[-1, 2]]))
    np.testing.assert_allclose(token, [np.log(4)], rtol=1e-6)


@pytest.mark.parametrize(
    ("space", "raw", "expected"),
    [
        (Space(FLOAT, (1,)), [[2.0]], [[np.e**2 - 1]]),
        (Space(INT, (), 3), [[0.1, 0.7, 0.2]], [1]),
        (Space(BYTE, (1, 1, 1)), [[[[0.4]]]], [[[[0.4]]]]),
    ],
)
def test_predictions_come_back_in_the_keys_own_units(
    space: Space, raw: list[list[float]], expected: list[list[float]]
) -> None:
    mean = predict_key(jnp.array(raw), space).mean()
    np.testing.assert_allclose(mean, expected, rtol=1e-5)
    if space.discrete:
        assert mean.dtype == jnp.int32


@pytest.mark.parametrize(
    ("space", "meaning"),
    [
        (Space(FLOAT, (3,)), SymlogSquares),
        (Space(FLOAT, (24, 24, 3)), SymlogSquares),  # floats are no picture, whatever their axes
        (Space(BYTE, (3,)), SymlogSquares),
        (Space(INT, (), 7), Classes),
        (Space(BYTE, (2, 3, 1), 7), Classes),  # classes are no picture either
        (Space(BYTE, (24, 24, 1)), Pixels),
    ],
)
def test_the_meaning_follows_the_kind_of_the_key(space: Space, meaning: type) -> None:
    assert type(predict_key(jnp.zeros((1, *space.shape)), space)) is meaning


@pytest.mark.parametrize("target", [0.0, 1.0, 0.25])
def test_bernoulli_loss_by_hand(target: float) -> None:
    prob = 1 / (1 + np.exp(-0.3))
    expected = -target * np.log(prob) - (1 - target) * np.log(1 - prob)
    predicted = Bernoulli(jnp.array([0.3]))
    np.testing.assert_allclose(predicted.loss(jnp.float32(target)), expected, rtol=1e-5)
    np.testing.assert_allclose(predicted.mean(), prob, rtol=1e-5)


def test_bernoulli_loss_of_extreme_logits_is_finite() -> None:
    assert Bernoulli(jnp.array([-200.0])).loss(jnp.float32(1.0)) == 200.0


def test_a_logit_has_an_axis_that_its_probability_has_not() -> None:
    predicted = Bernoulli(jnp.zeros((2, 3, 1)))
    assert predicted.mean().shape == predicted.loss(jnp.zeros((2, 3))).shape == (2, 3)


@pytest.mark.parametrize(
    ("target", "share"),  # of every bin
    [
        (0.0, [0, 0, 1, 0, 0]),
        (0.25, [0, 0, 0.75, 0.25, 0]),
        (-2.5, [0.75, 0.25, 0, 0, 0]),
        (9.0, [0, 0, 0, 0, 1]),  # beyond the last bin
    ],
)
def test_twohot_loss_by_hand(target: float, share: list[float]) -> None:
    probs = np.array([0.1, 0.2, 0.3, 0.15, 0.25])
    predicted = TwoHot(jnp.log(jnp.asarray(probs, jnp.float32)) + 5.0, BINS)
    expected = -(np.array(share) * np.log(probs)).sum()
    np.testing.assert_allclose(predicted.loss(jnp.float32(target)), expected, rtol=1e-5)


def test_twohot_mean_is_the_expected_bin() -> None:
    probs = np.array([[0.1, 0.2, 0.3, 0.15, 0.25], [0.5, 0.5, 0.0, 0.0, 0.0]])
    mean = TwoHot(jnp.log(jnp.asarray(probs, jnp.float32)), BINS).mean()
    np.testing.assert_allclose(mean, [-0.3 - 0.2 + 0.15 + 0.75, -2.0], rtol=1e-5)


def test_the_target_of_a_twohot_loss_has_no_gradient() -> None:
    logits = jnp.arange(5.0)
    by_logits, by_target = jax.grad(lambda x, y: TwoHot(x, BINS).loss(y), argnums=(0, 1))(
        logits, jnp.float32(0.5)
    )
    assert by_logits.any() and not by_target.any()
