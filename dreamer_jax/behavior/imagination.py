"""Rollouts of the world model under an actor (docs/algorithm.md 7).

Where gradients may go is the caller's choice: it stops those of what it passes in. The published
algorithm stops all of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
from flax import linen as nn

from dreamer_jax.distributions import ActionDistribution, Sampler, action_noise
from dreamer_jax.nets.layers import forward
from dreamer_jax.ops.rows import RowMap, all_rows
from dreamer_jax.types import Latent, ModuleParams, Noise, Params, Space
from dreamer_jax.world_model import WorldModel, encode_action


class Imagined(NamedTuple):
    """A rollout from N starts: of its states, only what heads read."""

    feat: jax.Array  # [H, N, F] in which it acted; index 0 is the replayed start itself
    action: dict[str, jax.Array]  # [H, N, *shape]
    last: jax.Array  # [N, F] where the last action led


class Actor(NamedTuple):
    """The actor as a function: its module, the spaces it acts in, and its uniform share."""

    module: nn.Module
    spaces: dict[str, Space]
    unimix: float

    def __call__(self, params: ModuleParams, feat: jax.Array) -> ActionDistribution:
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
    by_rows: RowMap = all_rows,
) -> Imagined:
    """Roll the world model forward under the actor.

    Args:
        world_model: Supplies dynamics.
        actor: Chooses actions.
        params: The entries `dynamics` and `actor`.
        start: `[N, *]` replayed posterior latents.
        horizon: H, steps to imagine.
        sampler: Draws actions; latents are drawn by the dynamics' own sampler.
        key: Consumed.
        by_rows: How starts are spread over devices.

    *Gradients:* reach whatever they are not stopped at before the call; an action's gradient is
    that of its sampler.
    """
    dynamics, count = world_model.dynamics, jax.tree.leaves(start)[0].shape[0]
    action_key, latent_key = jax.random.split(key)
    noise = action_noise(sampler, action_key, actor.spaces, (horizon, count))
    latent_noise = dynamics.draw_noise(latent_key, (horizon, count))

    def roll(params: Params, start: Latent, noise: Noise, latent_noise: Noise) -> Any:
        def act(latent: Latent, noise: Noise) -> tuple[jax.Array, Any]:
            feat = dynamics.feat(latent)
            action = actor(params["actor"], feat).sample(sampler, noise)
            return encode_action(action, actor.spaces), (feat, action)

        _, last, (feats, actions) = dynamics.imagine(
            params["dynamics"], start, act, noise, latent_noise
        )
        return feats, actions, dynamics.feat(last)

    used = {name: params[name] for name in ("dynamics", "actor")}
    rollout = by_rows(roll, used, start, noise, latent_noise, in_axes=(0, 1, 1), out_axes=(1, 1, 0))
    return Imagined(*rollout)
