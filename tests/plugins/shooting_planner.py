"""A planner that acts with the critic of `main`: the best of several imagined courses.

Candidates follow the actor of `main`; one more follows the plan of the step before, shifted. The
memory is that plan and its age, and belongs to one episode.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from dreamer_jax.behavior.actor_critic import ActorCritic
from dreamer_jax.distributions import action_noise
from dreamer_jax.masks import widen
from dreamer_jax.world_model import WorldModel, encode_action

WORST = -1e9


@dataclass(frozen=True)
class Shooting:
    world_model: WorldModel
    main: ActorCritic
    candidates: int
    horizon: int
    modules = ()
    acting = ("reward", "cont", "actor", "critic")
    losses_made = ()

    def init(self, key, feat):  # noqa: ARG002
        return {}, ()

    def initial_memory(self, batch):
        plan = {
            key: jnp.zeros((batch, self.horizon, *space.shape), space.dtype)
            for key, space in self.main.actor.spaces.items()
        }
        return {"plan": plan, "age": jnp.zeros(batch, jnp.int32)}

    def act(self, params, memory, latent, is_first, key, mode):  # noqa: ARG002
        count, envs = self.candidates, is_first.shape[0]
        age = jnp.where(is_first, 0, memory["age"])
        shifted = {k: jnp.roll(plan, -1, 1) for k, plan in memory["plan"].items()}
        courses, gains = self._imagine(params, latent, shifted, key)
        gains = gains.reshape(count, envs)
        gains = gains.at[0].set(jnp.where(age > 0, gains[0], WORST))
        best = jnp.argmax(gains, 0)
        pick = lambda x: x.reshape(count, envs, *x.shape[1:])[best, jnp.arange(envs)]
        plan = {k: pick(course) for k, course in courses.items()}
        return {"plan": plan, "age": age + 1}, {k: course[:, 0] for k, course in plan.items()}

    def losses(self, params, aux, observed, batch, key, updates):  # noqa: ARG002
        return {}, aux, {}

    def after_update(self, params, aux):  # noqa: ARG002
        return aux

    def _imagine(self, params, latent, shifted, key):
        """Return courses `[N, H, ...]` and gains `[N]`; the first E of N follow `shifted`."""
        dynamics, spaces = self.world_model.dynamics, self.main.actor.spaces
        action_key, latent_key = jax.random.split(key)
        repeat = lambda x: jnp.tile(x, (self.candidates, *[1] * (x.ndim - 1)))
        start = jax.tree.map(repeat, latent)
        rows = jax.tree.leaves(start)[0].shape[0]
        noise = action_noise(self.main.sampler, action_key, spaces, (self.horizon, rows))
        follow = jnp.arange(rows) < rows // self.candidates
        given = {k: repeat(plan).swapaxes(0, 1) for k, plan in shifted.items()}

        def act(latent, now):
            noise, given = now
            feat = dynamics.feat(latent)
            own = self.main.actor(params["actor"], feat).sample(self.main.sampler, noise)
            action = {k: jnp.where(widen(follow, own[k]), given[k], own[k]) for k in own}
            return encode_action(action, spaces), (feat, action)

        drawn = dynamics.draw_noise(latent_key, (self.horizon, rows))
        _, last, (feats, actions) = dynamics.imagine(
            params["dynamics"], start, act, (noise, given), drawn
        )
        later = jnp.concatenate([feats[1:], dynamics.feat(last)[None]])
        reward = self.world_model.predict("reward", params, later)
        alive = jnp.cumprod(self.world_model.predict("cont", params, later), 0)
        value = self.main.critic(params["critic"], later[-1]).mean()
        return {k: v.swapaxes(0, 1) for k, v in actions.items()}, (alive * reward).sum(0) + alive[
            -1
        ] * value


def make(context, world_model, behaviors) -> Shooting:
    options = context.agent.options
    return Shooting(world_model, behaviors["main"], options.candidates, options.plan)
