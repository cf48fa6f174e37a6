"""Sampling by inversion, and the joint distribution of several action keys."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_jax.distributions import (
    GREEDY,
    RANDOM,
    ActionDistribution,
    action_noise,
    choose_by_inversion,
)
from dreamer_jax.types import Space

K, N = 5, 7
INT, FLOAT = np.dtype(np.int32), np.dtype(np.float32)
SPACES = {
    "jump": Space(INT, (), K),
    "keys": Space(INT, (3,), 2),
    "steer": Space(FLOAT, (2,)),
}
ALMOST_ONE = np.nextafter(np.float32(1), np.float32(0))
RNG = np.random.default_rng(7)


@pytest.mark.parametrize(
    ("noise", "expected"),
    [(0.0, 0), (0.24, 0), (0.25, 1), (0.49, 1), (0.5, 2), (0.99, 2), (ALMOST_ONE, 2)],
)
def test_inversion_by_hand(noise: float, expected: int) -> None:
    index = choose_by_inversion(jnp.array([0.25, 0.25, 0.5]), jnp.float32(noise))
    assert index.dtype == jnp.int32
    assert index == expected


@pytest.mark.parametrize("classes", [2, 3, 5, 97])
def test_inversion_never_leaves_the_range(classes: int) -> None:
    """Rounded cumulative sums may end below the largest uniform number."""
    logits = jnp.asarray(RNG.normal(size=(1009, classes)), jnp.float32)
    probs = jax.nn.softmax(logits) * (1 - 1e-5)
    for noise in (0.0, ALMOST_ONE):
        index = np.asarray(choose_by_inversion(probs, jnp.full(1009, noise)))
        assert index.min() >= 0 and index.max() < classes


def test_impossible_classes_are_never_drawn() -> None:
    probs = jnp.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    for noise in (0.0, 0.5, ALMOST_ONE):
        np.testing.assert_array_equal(choose_by_inversion(probs, jnp.full(3, noise)), [1, 0, 2])


def test_inversion_frequencies_match_the_probabilities() -> None:
    probs, count = jnp.array([0.07, 0.4, 0.03, 0.3, 0.2]), 200_000
    noise = RANDOM.uniform(jax.random.key(0), (count,))
    index = choose_by_inversion(jnp.broadcast_to(probs, (count, K)), noise)
    observed = np.bincount(np.asarray(index), minlength=K)
    chi_square = ((observed - count * probs) ** 2 / (count * probs)).sum()
    assert chi_square < 18.5  # 99.9 % of draws with 4 degrees of freedom


def _outputs(*lead: int) -> dict[str, Any]:
    draw = lambda *shape: jnp.asarray(RNG.normal(size=(*lead, *shape)), jnp.float32)
    steer = (draw(2), jnp.exp(draw(2)))
    return {"jump": draw(K), "keys": draw(3, 2), "steer": steer}


def _action(*lead: int) -> dict[str, jax.Array]:
    return {
        "jump": jnp.asarray(RNG.integers(0, K, lead), jnp.int32),
        "keys": jnp.asarray(RNG.integers(0, 2, (*lead, 3)), jnp.int32),
        "steer": jnp.asarray(RNG.normal(size=(*lead, 2)), jnp.float32),
    }


def test_log_probs_by_hand_are_summed_over_axes_and_keys() -> None:
    outputs, action = _outputs(N), _action(N)
    dist = ActionDistribution(outputs, SPACES, unimix=0.0)
    log_softmax = {k: np.asarray(jax.nn.log_softmax(outputs[k])) for k in ("jump", "keys")}
    mean, std = (np.asarray(x) for x in outputs["steer"])
    pick = lambda x, index: np.take_along_axis(x, np.asarray(index)[..., None], -1)[..., 0]
    error = (np.asarray(action["steer"]) - mean) / std
    expected = {
        "jump": pick(log_softmax["jump"], action["jump"]),
        "keys": pick(log_softmax["keys"], action["keys"]).sum(-1),
        "steer": (-0.5 * error**2 - np.log(std) - 0.5 * np.log(2 * np.pi)).sum(-1),
    }
    for key, value in expected.items():
        np.testing.assert_allclose(dist.log_prob(key, action[key]), value, rtol=1e-4)
    total = dist.total_log_prob(action)
    np.testing.assert_allclose(total, sum(expected.values()), rtol=1e-4)


def test_entropies_by_hand_are_summed_over_axes_and_keys() -> None:
    outputs = {
        "jump": jnp.zeros(K),
        "keys": jnp.log(jnp.array([[1.0, 1.0], [1.0, 3.0], [1.0, 1.0]])),
        "steer": (jnp.zeros(2), jnp.array([1.0, 2.0])),
    }
    dist = ActionDistribution(outputs, SPACES, unimix=0.0)
    quarter = -0.25 * np.log(0.25) - 0.75 * np.log(0.75)
    expected = {
        "jump": np.log(K),
        "keys": 2 * np.log(2) + quarter,
        "steer": np.log(2 * np.pi * np.e) + np.log(2),
    }
    for key, value in expected.items():
        np.testing.assert_allclose(dist.entropy(key), value, rtol=1e-5)
    np.testing.assert_allclose(dist.total_entropy(), sum(expected.values()), rtol=1e-5)


def test_the_actor_has_its_own_uniform_share() -> None:
    spaces = {"jump": SPACES["jump"]}
    dist = ActionDistribution({"jump": jnp.array([1e3, 0.0, 0.0, 0.0, 0.0])}, spaces, unimix=0.1)
    np.testing.assert_allclose(jnp.exp(dist.log_prob("jump", jnp.int32(3))), 0.02, rtol=1e-5)


def test_samples_fit_the_spaces_and_follow_the_noise() -> None:
    noise = action_noise(RANDOM, jax.random.key(1), SPACES, (N,))
    dist = ActionDistribution(_outputs(N), SPACES, unimix=0.0)
    action = dist.sample(RANDOM, noise)
    for key, space in SPACES.items():
        assert action[key].shape == (N, *space.shape) == noise[key].shape
        assert action[key].dtype == space.dtype
    assert 0 <= noise["jump"].min() and noise["jump"].max() < 1  # uniform
    assert noise["steer"].min() < 0  # normal


def test_normals_are_moved_by_mean_and_deviation_and_not_clipped() -> None:
    outputs = {"steer": (jnp.array([0.5, -0.5]), jnp.array([1.0, 2.0]))}
    dist = ActionDistribution(outputs, {"steer": SPACES["steer"]}, unimix=0.0)
    action = dist.sample(RANDOM, {"steer": jnp.array([1.0, -1.0])})
    np.testing.assert_allclose(action["steer"], [1.5, -2.5])


def test_greedy_takes_the_mode() -> None:
    outputs = _outputs(N)
    noise = action_noise(GREEDY, jax.random.key(1), SPACES, (N,))
    action = ActionDistribution(outputs, SPACES, unimix=0.0).sample(GREEDY, noise)
    np.testing.assert_array_equal(action["jump"], jnp.argmax(outputs["jump"], -1))
    np.testing.assert_array_equal(action["keys"], jnp.argmax(outputs["keys"], -1))
    np.testing.assert_array_equal(action["steer"], outputs["steer"][0])


def test_noise_of_a_key_does_not_depend_on_the_order_of_the_dict() -> None:
    backwards = dict(reversed(SPACES.items()))
    noise = [action_noise(RANDOM, jax.random.key(1), s, (N,)) for s in (SPACES, backwards)]
    for key in SPACES:
        np.testing.assert_array_equal(noise[0][key], noise[1][key])
