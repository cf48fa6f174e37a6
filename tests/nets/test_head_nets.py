"""What heads say before they have learned anything, and the shape of what actors say."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_jax.nets.head_nets import ActorNet, HeadNet
from dreamer_jax.nets.layers import forward
from dreamer_jax.ops.twohot import symexp_bins, twohot_mean
from dreamer_jax.types import Space

F32 = jnp.dtype("float32")
INT, FLOAT = np.dtype("int32"), np.dtype("float32")
SPACES = {"jump": Space(INT, (), 5), "keys": Space(INT, (3,), 2), "steer": Space(FLOAT, (2,))}
FEAT = jnp.asarray(np.random.default_rng(19).normal(size=(2, 3, 11)), jnp.float32)


def _actor() -> ActorNet:
    return ActorNet(SPACES, layers=2, units=7, outscale=0.01, std_range=(0.1, 1.0), dtype=F32)


def test_reward_and_value_are_exactly_zero_at_first() -> None:
    """A random output kernel would predict rewards of up to symexp(20)."""
    bins = symexp_bins(255)
    head = HeadNet(2, 7, 255, 0.0, F32)
    logits, _ = jax.jit(head.init_with_output)(jax.random.key(0), FEAT)
    assert logits.shape == (2, 3, 255) and logits.dtype == jnp.float32
    assert (twohot_mean(logits, bins) == 0).all()


def test_the_actor_is_near_uniform_at_first() -> None:
    outputs, _ = jax.jit(_actor().init_with_output)(jax.random.key(0), FEAT)
    for key in ("jump", "keys"):
        probs = jax.nn.softmax(outputs[key])
        assert probs.shape == (2, 3, *SPACES[key].shape, SPACES[key].classes)
        np.testing.assert_allclose(probs, np.full(probs.shape, 1 / probs.shape[-1]), atol=0.02)
    mean, std = outputs["steer"]
    assert mean.shape == std.shape == (2, 3, 2)
    np.testing.assert_allclose(mean, np.zeros(mean.shape), atol=0.05)
    wide = 0.9 / (1 + np.exp(-2)) + 0.1
    np.testing.assert_allclose(std, np.full(std.shape, wide), atol=0.01)


def test_continuous_outputs_by_hand() -> None:
    actor = ActorNet({"steer": SPACES["steer"]}, 0, 7, 1.0, (0.1, 1.0), F32)
    dense = lambda *rows: {"kernel": jnp.array(rows), "bias": jnp.zeros(2)}
    params = {
        "mean_steer": dense([1.0, 0.0], [0.0, 1.0]),
        "std_steer": dense([0.0, 1.0], [1.0, 0.0]),
    }
    mean, std = forward(actor, params, jnp.array([[0.5, -9.0]]))["steer"]
    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    np.testing.assert_allclose(mean, [[np.tanh(0.5), np.tanh(-9.0)]], rtol=1e-5)
    expected = [[0.9 * sigmoid(-7.0) + 0.1, 0.9 * sigmoid(2.5) + 0.1]]
    np.testing.assert_allclose(std, expected, rtol=1e-5)
