"""Two-hot regression: losses and means worked out by hand on five bins."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_jax.ops.twohot import symexp_bins, twohot_loss, twohot_mean

BINS = np.array([-4.0, -1.0, 0.0, 1.0, 4.0], np.float32)
PROBS = np.array([0.1, 0.15, 0.2, 0.25, 0.3], np.float32)
LOGITS = np.log(PROBS) + np.float32(1.7)  # not normalised


def test_bins_are_symexp_of_a_line() -> None:
    e10, e20 = np.expm1(10.0), np.expm1(20.0)
    np.testing.assert_allclose(symexp_bins(5), [-e20, -e10, 0, e10, e20], rtol=1e-6)


def test_bins_ascend_and_mirror_exactly() -> None:
    bins = symexp_bins(255)
    assert bins.shape == (255,) and bins.dtype == np.float32
    assert (np.diff(bins) > 0).all()
    assert bins[127] == 0
    np.testing.assert_array_equal(bins, -bins[::-1])


@pytest.mark.parametrize("number", [0, 1, 2, 254])
def test_bins_must_be_odd(number: int) -> None:
    with pytest.raises(ValueError, match=f"bins={number}.*odd and at least 3"):
        symexp_bins(number)


@pytest.mark.parametrize(
    ("target", "twohot"),
    [
        (0.0, [0, 0, 1, 0, 0]),  # exactly a bin
        (-1.0, [0, 1, 0, 0, 0]),
        (2.5, [0, 0, 0, 0.5, 0.5]),  # halfway in raw space; in symlog space it would be 0.61
        (-0.25, [0, 0.25, 0.75, 0, 0]),
        (4.0, [0, 0, 0, 0, 1]),  # the ends
        (-4.0, [1, 0, 0, 0, 0]),
        (1e9, [0, 0, 0, 0, 1]),  # beyond them
        (-1e9, [1, 0, 0, 0, 0]),
    ],
)
def test_loss_is_the_cross_entropy_to_neighbouring_bins(target: float, twohot: list[float]) -> None:
    loss = twohot_loss(jnp.asarray(LOGITS), jnp.float32(target), BINS)
    np.testing.assert_allclose(loss, -np.dot(twohot, np.log(PROBS)), rtol=1e-5)
    grad = jax.grad(twohot_loss)(jnp.asarray(LOGITS), jnp.float32(target), BINS)
    np.testing.assert_allclose(grad, PROBS - np.array(twohot), atol=1e-6)


def test_the_target_is_data() -> None:
    assert jax.grad(twohot_loss, argnums=1)(jnp.asarray(LOGITS), jnp.float32(2.5), BINS) == 0.0


def test_the_loss_keeps_leading_axes() -> None:
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 5)), jnp.float32)
    targets = jnp.linspace(-5.0, 5.0, 6).reshape(2, 3)
    losses = twohot_loss(logits, targets, BINS)
    assert losses.shape == (2, 3)
    np.testing.assert_allclose(losses[1, 2], twohot_loss(logits[1, 2], targets[1, 2], BINS))
    with pytest.raises(AssertionError):
        twohot_loss(logits, targets.T, BINS)


def test_mean_by_hand() -> None:
    # -4·0.1 − 1·0.15 + 0·0.2 + 1·0.25 + 4·0.3
    np.testing.assert_allclose(twohot_mean(jnp.asarray(LOGITS), BINS), 0.9, rtol=1e-5)


@pytest.mark.parametrize("number", [5, 255])
@pytest.mark.parametrize("level", [0.0, 3.7])
def test_uniform_probabilities_mean_exactly_zero(number: int, level: float) -> None:
    """A plain sum leaves rounding errors of symexp(20), i.e. hundreds, in a fresh critic."""
    bins = symexp_bins(number)
    assert (jax.jit(twohot_mean)(jnp.full((7, number), level), bins) == 0).all()


def test_mean_agrees_with_a_plain_sum_and_mirrors() -> None:
    bins = symexp_bins(255)
    logits = jnp.asarray(np.random.default_rng(1).normal(size=(3, 255)), jnp.float32)
    probs = np.exp(logits, dtype=np.float64) / np.exp(logits, dtype=np.float64).sum(-1)[:, None]
    mean = twohot_mean(logits, bins)
    np.testing.assert_allclose(mean, (probs * bins).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(twohot_mean(logits[:, ::-1], bins), -mean, rtol=1e-6)


def test_a_sharp_prediction_returns_its_bin() -> None:
    bins = symexp_bins(255)
    logits = jnp.full((255,), -1e9).at[200].set(0.0)
    assert twohot_mean(logits, bins) == bins[200]
