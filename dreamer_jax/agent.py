"""The agent as pure functions, unjitted: `make_agent` reads the config, nothing below it does.

World model, imagination, actor, critic, optimiser, slow critic and return statistics are one
function of (state, carry, batch, key), so that one compiled program holds a whole update.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dreamer_jax.behavior.actor_critic import ActorCritic
from dreamer_jax.distributions import GREEDY, Sampler, action_noise
from dreamer_jax.nets.layers import forward
from dreamer_jax.ops.percentile import init_return_stats
from dreamer_jax.optim import keep_unless_finite
from dreamer_jax.types import Batch, Carry, Latent, Replayed, Spaces, TrainState
from dreamer_jax.world_model import Observed, WorldModel, encode_action

Metrics = dict[str, jax.Array]
ACTING = ("encoder", "dynamics", "actor")  # modules that a policy step reads


class Agent(NamedTuple):
    """The five functions of an agent, closed over modules and scalars (DESIGN: pure functions)."""

    spaces: Spaces
    world_model: WorldModel
    behavior: ActorCritic
    optimizer: optax.GradientTransformation
    loss_scales: Mapping[str, float]
    slow_rate: float
    replay_context: int
    sampler: Sampler

    def init(self, key: jax.Array) -> TrainState:
        """Return the state before the first update; the slow critic is a copy of the critic."""
        world_key, behavior_key = jax.random.split(key)
        params = self.world_model.init(world_key)
        feat = self.world_model.dynamics.feat(self.world_model.dynamics.initial(1))
        params |= self.behavior.init(behavior_key, feat)
        return TrainState(
            params=params,
            slow={"critic": jax.tree.map(jnp.copy, params["critic"])},
            opt=self.optimizer.init(params),
            stats=init_return_stats(),
            grad_steps=jnp.zeros((), jnp.int32),
        )

    def initial_carry(self, batch: int) -> Carry:
        """Return the carry `[batch, ...]` before anything has been seen: zeros."""
        action = {k: jnp.zeros((batch, *s.shape), s.dtype) for k, s in self.spaces.action.items()}
        return Carry(self.world_model.dynamics.initial(batch), action)

    def acting_params(self, state: TrainState) -> dict[str, Any]:
        """Return the parameters that `policy` reads."""
        return {name: state.params[name] for name in ACTING}

    def policy(
        self,
        params: Mapping[str, Any],
        carry: Carry,
        obs: Mapping[str, jax.Array],
        is_first: jax.Array,
        key: jax.Array,
        mode: str = "train",
    ) -> tuple[Carry, dict[str, jax.Array], Latent]:
        """Filter one observation per environment and choose an action.

        Args:
            params: From `acting_params`, or as `train` returned them.
            carry: `[E, ...]` from the previous call.
            obs: `[E, *shape]` by key.
            is_first: `[E]` bool; the carry of such an environment is not used.
            key: Consumed.
            mode: `train` samples actions, `eval` takes the actor's mode. Static.

        Returns:
            The next carry, actions by key, and the packed latents to store in replay.

        Raises:
            ValueError: For another mode.
        """
        if mode not in ("train", "eval"):
            raise ValueError(f"mode={mode!r} is unknown; use 'train' or 'eval'")
        latent_key, action_key = jax.random.split(key)
        obs, previous = jax.tree.map(lambda x: x[:, None], (obs, carry.action))
        embed = forward(self.world_model.encoder, params["encoder"], obs)
        dynamics, count = self.world_model.dynamics, is_first.shape[0]
        latents, _ = dynamics.observe(
            params["dynamics"],
            carry.latent,
            embed,
            encode_action(previous, self.spaces.action),
            is_first[:, None],
            dynamics.observe_noise(latent_key, (count, 1)),
        )
        latent = Latent(*(x[:, 0] for x in latents))
        sampler = GREEDY if mode == "eval" else self.sampler
        noise = action_noise(sampler, action_key, self.spaces.action, (count,))
        action = self.behavior.actor(params["actor"], dynamics.feat(latent)).sample(sampler, noise)
        return Carry(latent, action), action, dynamics.pack(latent)

    def losses(
        self,
        params: Mapping[str, Any],
        state: TrainState,
        start: Latent,
        batch: Batch,
        previous_action: Mapping[str, jax.Array],
        key: jax.Array,
    ) -> tuple[dict[str, jax.Array], tuple[Observed, dict[str, jax.Array], Metrics]]:
        """Return every mean loss by name, and (observed, return statistics, metrics)."""
        observe_key, imagine_key = jax.random.split(key)
        observed = self.world_model.observe(
            params, start, batch.obs, previous_action, batch.is_first, observe_key
        )
        losses = self.world_model.losses(params, observed, batch)
        more, stats, metrics = self.behavior.losses(
            params, state.slow, state.stats, self.world_model, observed, batch, imagine_key
        )
        means = {name: loss.mean() for name, loss in (losses | more).items()}
        entropy = self.world_model.dynamics.entropy
        metrics |= {f"loss/{name}": mean for name, mean in means.items()}
        metrics["dynamics/prior_entropy"] = entropy(observed.prior_logits).mean()
        metrics["dynamics/post_entropy"] = entropy(observed.post_logits).mean()
        return means, (observed, stats, metrics)

    def train(
        self, state: TrainState, carry: Carry, replayed: Replayed, key: jax.Array
    ) -> tuple[TrainState, dict[str, Any], Carry, Latent, Metrics]:
        """Do one update of everything, or none where loss or gradients are not finite.

        A skipped update leaves state and carry as they were but for `grad_steps`, which names
        the randomness of the next one; its latents are of no use. `opt/skipped` tells.

        Args:
            state: Donated by the caller that compiles this.
            carry: Latent and action after the previous batch, for rows that follow it.
            replayed: `[B, T + context, ...]` records.
            key: Consumed.

        Returns:
            The new state; the parameters for acting; the carry after this batch; packed latents
            `[B, T, ...]` to write back to the records; scalar metrics.
        """
        start, batch, previous = self.align(carry, replayed)

        def total(params: Any) -> tuple[jax.Array, Any]:
            means, aux = self.losses(params, state, start, batch, previous, key)
            if set(means) != set(self.loss_scales):
                raise ValueError(f"losses {sorted(means)} but scales {sorted(self.loss_scales)}")
            scaled = (self.loss_scales[name] * mean for name, mean in means.items())
            return sum(scaled, start=jnp.zeros(())), aux

        (loss, aux), grads = jax.value_and_grad(total, has_aux=True)(state.params)
        observed, stats, metrics = aux
        updates, opt = self.optimizer.update(grads, state.opt, state.params)
        params = optax.apply_updates(state.params, updates)
        slow = optax.incremental_update({"critic": params["critic"]}, state.slow, self.slow_rate)
        metrics |= {"loss/total": loss, **_optimizer_metrics(grads, updates, state.params)}
        last = Carry(*jax.tree.map(lambda x: x[:, -1], (observed.latent, batch.action)))
        new = TrainState(params, slow, opt, stats, state.grad_steps), last
        (new_state, carry), skipped = keep_unless_finite(
            (loss, metrics["opt/grad_norm"]), new, old=(state, carry)
        )
        metrics["opt/skipped"] = skipped
        new_state = new_state._replace(grad_steps=state.grad_steps + 1)
        latents = self.world_model.dynamics.pack(observed.latent)
        return new_state, self.acting_params(new_state), carry, latents, metrics

    def align(self, carry: Carry, replayed: Replayed) -> tuple[Latent, Batch, dict[str, jax.Array]]:
        """Return the starting latent, the records to train on, and the actions that led to them.

        With context, the leading record is dropped: its stored latent starts the recurrence and
        its action is the first previous action. Rows that follow the previous batch start from
        the carry's latent instead. Without context, latent and action come from the carry.

        Raises:
            ValueError: If the agent expects context and the batch has none, or the reverse.
        """
        records, stored = replayed.records, replayed.latent
        if (stored is not None) != bool(self.replay_context):
            raise ValueError(
                f"replay_context={self.replay_context}, but the batch "
                + ("brings no stored latent" if stored is None else "brings a stored latent")
            )
        if stored is None:
            lead = {k: v[:, None] for k, v in carry.action.items()}
            previous = {
                k: jnp.concatenate([lead[k], v[:, :-1]], 1) for k, v in records.action.items()
            }
            return carry.latent, records, previous

        def pick(ours: jax.Array, theirs: jax.Array) -> jax.Array:
            return jnp.where(replayed.follows.reshape(-1, *[1] * (ours.ndim - 1)), ours, theirs)

        start = jax.tree.map(pick, carry.latent, self.world_model.dynamics.unpack(stored))
        batch = jax.tree.map(lambda x: x[:, 1:], records)
        return start, batch, {k: v[:, :-1] for k, v in records.action.items()}


def _optimizer_metrics(grads: Any, updates: Any, params: Any) -> Metrics:
    """Return norms; `params` before the update, of which clipping needs the same ones."""
    count = sum(x.size for x in jax.tree.leaves(params))
    grad_norm = optax.tree.norm(grads)
    return {
        **{f"opt/grad_norm/{name}": optax.tree.norm(grad) for name, grad in grads.items()},
        "opt/grad_norm": grad_norm,
        "opt/grad_rms": grad_norm / count**0.5,
        "opt/update_rms": optax.tree.norm(updates) / count**0.5,
        "opt/param_rms": optax.tree.norm(params) / count**0.5,
    }
