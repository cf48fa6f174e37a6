"""A second behaviour beside the first: paid for large states, with a critic of its own."""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp

from dreamer_jax.makers import make_actor_critic


def make(context, world_model, behaviors):
    def large(params, feat):  # noqa: ARG001
        return jnp.abs(feat).mean(-1)

    published = make_actor_critic(context, world_model, behaviors)
    return replace(published, reward=large, entropy_scale=0.01, slow_rate=0.1)
