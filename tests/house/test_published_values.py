"""The defaults are the published ones: a change of one of them is another algorithm.

Numbers from Hafner et al., Nature 2025, and the maintained code (docs/algorithm.md).
"""

from __future__ import annotations

import pytest

from dreamer_jax.config import load_config

PUBLISHED = {
    "batch_size": 16,
    "batch_length": 64,
    "replay.capacity": 5_000_000,
    "replay.context": 1,
    "replay.online": True,
    "replay.recency": 0.0,
    "agent.groups": 32,
    "agent.blocks": 8,
    "agent.decoder_blocks": 8,
    "agent.dynamics_layers": 1,
    "agent.prior_layers": 2,
    "agent.posterior_layers": 1,
    "agent.encoder_layers": 3,
    "agent.decoder_layers": 3,
    "agent.reward_layers": 1,
    "agent.cont_layers": 1,
    "agent.actor_layers": 3,
    "agent.critic_layers": 3,
    "agent.unimix": 0.01,
    "agent.actor_outscale": 0.01,
    "agent.actor_min_std": 0.1,
    "agent.actor_max_std": 1.0,
    "agent.bins": 255,
    "agent.loss_scales.recon": 1.0,
    "agent.loss_scales.reward": 1.0,
    "agent.loss_scales.cont": 1.0,
    "agent.loss_scales.dyn": 1.0,
    "agent.loss_scales.rep": 0.1,
    "agent.loss_scales.actor": 1.0,
    "agent.loss_scales.critic": 1.0,
    "agent.loss_scales.replay_critic": 0.3,
    "agent.free_nats": 1.0,
    "agent.discount_horizon": 333,
    "agent.contdisc": True,
    "agent.imag_horizon": 15,
    "agent.imag_lambda": 0.95,
    "agent.replay_lambda": 0.95,
    "agent.entropy_scale": 3e-4,
    "agent.slow_regularizer": 1.0,
    "agent.slow_target": False,
    "agent.slow_rate": 0.02,
    "agent.return_rate": 0.01,
    "agent.return_low": 5.0,
    "agent.return_high": 95.0,
    "agent.return_limit": 1.0,
    "agent.learning_rate": 4e-5,
    "agent.warmup": 1000,
    "agent.agc": 0.3,
    "agent.beta1": 0.9,
    "agent.beta2": 0.999,
    "agent.epsilon": 1e-20,
    "agent.weight_decay": 0.0,
}


@pytest.mark.parametrize("option", PUBLISHED)
def test_a_default_is_the_published_value(option):
    """A return limit of 1e-8 instead of 1 was noticed by one parity case alone."""
    value = load_config("default")
    for part in option.split("."):
        value = value[part]
    assert value == PUBLISHED[option]
