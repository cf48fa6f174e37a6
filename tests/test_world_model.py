"""The world model's losses and the encoding of actions, by hand."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import MIXED, VECTOR, B, D, K, S, T, quick_jit, random_batch, random_state, tiny_agent

from dreamer_jax.agent import Agent
from dreamer_jax.nets.decoder import recon_loss
from dreamer_jax.nets.layers import forward
from dreamer_jax.ops.twohot import twohot_loss
from dreamer_jax.types import Latent, Replayed, TrainState
from dreamer_jax.world_model import Observed, bernoulli_loss, encode_action

GAMMA = 1 - 1 / 333


def test_actions_are_concatenated_in_sorted_order() -> None:
    action = {
        "steer": jnp.array([[0.5, -2.0]]),
        "jump": jnp.array([2], jnp.int32),
        "keys": jnp.array([[1, 0, 0]], jnp.int32),
    }
    expected = [[0, 0, 1, 0, 0, 1, 1, 0, 1, 0, 0.5, -2]]
    np.testing.assert_array_equal(encode_action(action, MIXED.action), expected)


@pytest.mark.parametrize("target", [0.0, 1.0, 0.25])
def test_bernoulli_loss_by_hand(target: float) -> None:
    prob = 1 / (1 + np.exp(-0.3))
    expected = -target * np.log(prob) - (1 - target) * np.log(1 - prob)
    np.testing.assert_allclose(
        bernoulli_loss(jnp.float32(0.3), jnp.float32(target)), expected, rtol=1e-5
    )


def test_bernoulli_loss_of_extreme_logits_is_finite() -> None:
    assert bernoulli_loss(jnp.float32(-200.0), jnp.float32(1.0)) == 200.0


class Seen:
    """A tiny agent, a random batch, and latents and logits that need no filtering."""

    def __init__(self) -> None:
        rng = np.random.default_rng(37)
        self.agent: Agent = tiny_agent(VECTOR)
        self.state: TrainState = random_state(self.agent)
        self.replayed: Replayed = random_batch(VECTOR, context=0)
        deter = jnp.asarray(rng.normal(size=(B, T, D)), jnp.float32)
        latent = Latent(deter, jax.nn.one_hot(rng.integers(0, K, (B, T, S)), K))
        post, prior = (jnp.asarray(rng.normal(size=(B, T, S, K)), jnp.float32) for _ in "ab")
        feat = self.agent.world_model.dynamics.feat(latent)
        self.observed = Observed(jnp.zeros((B, T, 0)), latent, feat, post, prior)

    def losses(self, contdisc: bool = True) -> dict[str, jax.Array]:
        model = self.agent.world_model
        if not contdisc:
            model = dataclasses.replace(model, cont_target_scale=1.0)
        run = quick_jit(lambda p, o, b: model.losses(p, o, b))
        return run(self.state.params, self.observed, self.replayed.records)


@pytest.fixture(scope="module")
def seen() -> Seen:
    return Seen()


def test_losses_are_those_of_the_equations(seen: Seen) -> None:
    losses, params, batch = seen.losses(), seen.state.params, seen.replayed.records
    model, observed = seen.agent.world_model, seen.observed
    assert set(losses) == {"dyn", "rep", "reward", "cont", "recon/speed"}
    assert all(loss.shape == (B, T) for loss in losses.values())
    dyn, rep = model.dynamics.kl_losses(observed.post_logits, observed.prior_logits)
    logits = forward(model.reward, params["reward"], observed.feat)
    raw = model.decode(params, observed.latent)["speed"]
    expected = {
        "dyn": dyn,
        "rep": rep,
        "reward": twohot_loss(logits, batch.reward, model.bins),
        "recon/speed": recon_loss(raw, batch.obs["speed"], seen.agent.spaces.obs["speed"]),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(losses[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("contdisc", [True, False])
def test_cont_target_is_one_on_truncation_and_zero_on_termination(
    seen: Seen, contdisc: bool
) -> None:
    """Training on any end would teach that time limits are deaths."""
    batch = seen.replayed.records
    assert (batch.is_last & ~batch.is_terminal).any() and batch.is_terminal.any()
    target = (1.0 - batch.is_terminal) * (GAMMA if contdisc else 1.0)
    model, feat = seen.agent.world_model, seen.observed.feat
    logit = forward(model.cont, seen.state.params["cont"], feat)[..., 0]
    prob = 1 / (1 + np.exp(-np.asarray(logit, np.float64)))
    expected = -target * np.log(prob) - (1 - target) * np.log(1 - prob)
    np.testing.assert_allclose(seen.losses(contdisc)["cont"], expected, rtol=1e-4)
