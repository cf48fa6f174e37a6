"""Makers of behaviours, and of what an actor learns from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from dreamer_jax.behavior.actor_critic import ActorCritic, ReturnScaling
from dreamer_jax.behavior.equations import Reinforce
from dreamer_jax.behavior.imagination import Actor
from dreamer_jax.behavior.protocol import Behavior
from dreamer_jax.makers.context import Context
from dreamer_jax.makers.heads import HEADS
from dreamer_jax.named import find_named
from dreamer_jax.nets.head_nets import ActorNet
from dreamer_jax.world_model import WorldModel


def make_actor_critic(
    context: Context,
    world_model: WorldModel,
    behaviors: Mapping[str, Behavior],  # noqa: ARG001
) -> ActorCritic:
    """Return the published behaviour, paid by the reward head."""
    agent = context.agent
    actor_net = ActorNet(
        context.spaces.action,
        agent.actor_layers,
        context.widths.units["actor"],
        agent.actor_outscale,
        (agent.actor_min_std, agent.actor_max_std),
        context.dtype,
    )
    return ActorCritic(
        world_model=world_model,
        actor=Actor(actor_net, context.spaces.action, agent.actor_unimix),
        critic=find_named("head", agent.critic, HEADS)(context, "critic"),
        reward=partial(world_model.predict, "reward"),
        sampler=context.sampler,
        imag_horizon=agent.imag_horizon,
        imag_last=agent.imag_last,
        gamma=1 - 1 / agent.discount_horizon,
        contdisc=agent.contdisc,
        lambda_=agent.imag_lambda,
        replay_lambda=agent.replay_lambda,
        entropy_scale=agent.entropy_scale,
        slow_regularizer=agent.slow_regularizer,
        replay_slow_regularizer=agent.replay_slow_regularizer,
        slow_target=agent.slow_target,
        slow_rate=agent.slow_rate,
        scaling=ReturnScaling(
            agent.return_rate, agent.return_low, agent.return_high, agent.return_limit
        ),
        spread=context.spread,
        actor_loss=find_named("actor loss", agent.actor_loss, ACTOR_LOSSES)(context),
    )


BEHAVIORS: dict[str, Any] = {"actor_critic": make_actor_critic}
ACTOR_LOSSES: dict[str, Any] = {"reinforce": lambda _: Reinforce()}
