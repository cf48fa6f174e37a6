"""Makers of optimisers over some entries of the parameters."""

from __future__ import annotations

from typing import Any

import optax

from dreamer_jax.makers.context import Context
from dreamer_jax.optim import learning_rate_schedule, make_optimizer


def make_laprop(context: Context, entries: tuple[str, ...]) -> optax.GradientTransformation:
    """Return the published optimiser; actors and critics may have rates of their own."""
    agent = context.agent
    own = {"actor": agent.actor_learning_rate, "critic": agent.critic_learning_rate}

    def schedule(entry: str) -> optax.Schedule:
        rate = own.get(entry.rpartition("/")[2]) or agent.learning_rate
        return learning_rate_schedule(rate, agent.warmup, agent.decay, agent.decay_updates)

    return make_optimizer(
        {entry: schedule(entry) for entry in entries},
        agc=agent.agc,
        beta1=agent.beta1,
        beta2=agent.beta2,
        epsilon=agent.epsilon,
        weight_decay=agent.weight_decay,
    )


OPTIMIZERS: dict[str, Any] = {"laprop": make_laprop}
