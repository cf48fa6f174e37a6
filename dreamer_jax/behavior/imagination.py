"""Rollouts of the world model under the actor (SPEC 7), as data: no gradient passes through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from dreamer_jax.distributions import ActionDistribution, Sampler, action_noise
from dreamer_jax.nets.layers import forward
from dreamer_jax.types import Latent, Space
from dreamer_jax.world_model import WorldModel, encode_action

Params = Mapping[str, Any]


class Imagined(NamedTuple):
    """A rollout from N starts; index 0 of the first axis is the replayed start itself."""

    latent: Latent  # [H+1, N, ...]
    feat: jax.Array  # [H+1, N, F]
    action: dict[str, jax.Array]  # [H+1, N, *shape] chosen in each state


class Actor(NamedTuple):
    """The actor as a function: its module, the spaces it acts in, and its uniform share."""

    module: nn.Module
    spaces: Mapping[str, Space]
    unimix: float

    def __call__(self, params: Any, feat: jax.Array) -> ActionDistribution:
        """Return the action distribution in states `[..., F]`."""
        return ActionDistribution(forward(self.module, params, feat), self.spaces, self.unimix)


def imagine(
    world_model: WorldModel,
    actor: Actor,
    params: Params,
    start: Latent,
    horizon: int,
    sampler: Sampler,
    key: jax.Array,
) -> Imagined:
    """Roll the world model forward under the actor.

    Args:
        world_model: Supplies dynamics.
        actor: Chooses actions.
        params: Parameters by module; used without gradient.
        start: `[N, ...]` replayed posterior latents; used without gradient.
        horizon: H, steps to imagine.
        sampler: Draws actions; latents are drawn by the dynamics' own sampler.
        key: Consumed.
    """
    params, start = jax.lax.stop_gradient((params, start))
    dynamics, count = world_model.dynamics, start.deter.shape[0]
    action_key, latent_key = jax.random.split(key)
    noise = (
        action_noise(sampler, action_key, actor.spaces, (horizon + 1, count)),
        dynamics.observe_noise(latent_key, (horizon + 1, count)),
    )

    def act(latent: Latent, noise: dict[str, jax.Array]) -> dict[str, jax.Array]:
        return actor(params["actor"], dynamics.feat(latent)).sample(sampler, noise)

    def step(latent: Latent, noise: Any) -> tuple[Latent, tuple[Latent, dict[str, jax.Array]]]:
        action = act(latent, noise[0])
        encoded = encode_action(action, actor.spaces)
        later = dynamics.imagine_step(params["dynamics"], latent, encoded, noise[1])
        return later, (latent, action)

    before_last = jax.tree.map(lambda x: x[:-1], noise)
    last, (latents, actions) = jax.lax.scan(step, start, before_last)
    last_action = act(last, jax.tree.map(lambda x: x[-1], noise[0]))
    latents, actions = jax.tree.map(
        lambda before, end: jnp.concatenate([before, end[None]], 0),
        (latents, actions),
        (last, last_action),
    )
    return Imagined(latents, dynamics.feat(latents), actions)
