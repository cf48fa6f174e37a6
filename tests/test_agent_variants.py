"""Agents of every kind of space, dtype and choice of starts: what their updates must keep."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import (
    FLOAT,
    INT,
    PICTURES,
    VECTOR,
    B,
    D,
    K,
    S,
    T,
    quick_jit,
    random_batch,
    random_obs,
    random_state,
    tiny_agent,
)

from dreamer_jax.agent import MAIN, Agent
from dreamer_jax.dynamics.rssm import Filtered, Latent
from dreamer_jax.types import Batch, Observed, Space, Spaces

SPACES = {
    "discrete action": Spaces(VECTOR.obs, {"jump": Space(INT, (), 4)}),
    "several discrete actions": Spaces(VECTOR.obs, {"keys": Space(INT, (3,), 2)}),
    "continuous action": VECTOR,
    "grid of continuous actions": Spaces(VECTOR.obs, {"steer": Space(FLOAT, (2, 3))}),
    "scalar continuous action": Spaces(VECTOR.obs, {"throttle": Space(FLOAT, ())}),
    "pictures and vectors": PICTURES,
    "one picture": Spaces({"camera": PICTURES.obs["camera"]}, PICTURES.action),
}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, "float32") for name in SPACES), ("pictures and vectors", "bfloat16")],
)
def test_every_kind_of_space_is_learned_and_acted_in(name: str, dtype: str) -> None:
    """What goes round must keep its shape and dtype, or the second call compiles again."""
    spaces, key = SPACES[name], jax.random.key(0)
    agent = tiny_agent(spaces, dtype=jnp.dtype(dtype))
    state, carry = jax.eval_shape(agent.init, key), agent.initial_carry(B)
    shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
    train = partial(agent.train, "joint")
    new, acting, later, *_ = jax.eval_shape(train, state, carry, random_batch(spaces), key)
    assert shapes(new) == shapes(state)
    assert shapes(later) == shapes(carry)
    obs, is_first = random_obs(spaces, B), np.zeros(B, bool)
    later, action, _ = jax.eval_shape(agent.policy, acting, carry, obs, is_first, key)
    assert shapes(later) == shapes(carry)
    assert shapes(action) == {k: ((B, *s.shape), s.dtype) for k, s in spaces.action.items()}


def test_imagination_may_start_from_the_last_steps_only() -> None:
    """Cropping also crops the records of the replay critic."""
    last = 2
    whole, some = (tiny_agent(VECTOR, imag_last=n) for n in (0, last))
    state, batch = random_state(whole), random_batch(VECTOR, context=0).records
    rng = np.random.default_rng(41)
    deter = jnp.asarray(rng.normal(size=(B, T, D)), jnp.float32)
    latent = Latent(deter, jax.nn.one_hot(rng.integers(0, K, (B, T, S)), K))
    feat, logits = whole.world_model.dynamics.feat(latent), jnp.zeros((B, T, S, K))
    observed = Observed(feat, Filtered(latent, feat, logits, logits))
    crop = lambda tree: jax.tree.map(lambda x: x[:, -last:], tree)

    def losses(agent: Agent, observed: Observed, batch: Batch) -> Any:
        behavior, key = agent.behaviors[MAIN], jax.random.key(0)
        return behavior.losses(
            state.params, state.aux[MAIN], observed, batch, key, state.grad_steps
        )[0]

    got, expected = quick_jit(
        lambda: (losses(some, observed, batch), losses(whole, crop(observed), crop(batch)))
    )()
    assert {name: x.shape for name, x in got.items()} == {
        "actor": (),
        "critic": (),
        "replay_critic": (B, last - 1),
    }
    jax.tree.map(np.testing.assert_array_equal, got, expected)


def test_bfloat16_losses_are_those_of_float32() -> None:
    """Sampled states may differ where probabilities round, so only the means can be compared."""
    means = {}
    for name in ("float32", "bfloat16"):
        agent = tiny_agent(VECTOR, dtype=jnp.dtype(name))
        aligned = agent.align(agent.initial_carry(B), random_batch(VECTOR))
        losses = quick_jit(
            lambda state, *inputs, losses=agent.losses: losses(state.params, state.aux, *inputs)[0]
        )
        means[name] = losses(random_state(agent), *aligned, jax.random.key(0), jnp.int32(0))
    for name, loss in means["bfloat16"].items():
        assert loss.dtype == jnp.float32
        np.testing.assert_allclose(loss, means["float32"][name], rtol=0.02)
