"""The world model: encoder, dynamics, decoder, reward and continue heads, and their losses.

SPEC 3-6. Every loss here is `[B, T]`; gradients of all of them reach encoder and dynamics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dreamer_jax.dynamics.protocol import Dynamics
from dreamer_jax.nets.decoder import recon_loss
from dreamer_jax.nets.layers import forward
from dreamer_jax.ops.rows import RowMap, all_rows
from dreamer_jax.ops.twohot import twohot_loss, twohot_mean
from dreamer_jax.types import Batch, Latent, Space, Spaces

Params = Mapping[str, Any]


class Observed(NamedTuple):
    """What filtering a batch yields."""

    embed: jax.Array  # [B, T, E]
    latent: Latent  # [B, T, ...] posterior
    feat: jax.Array  # [B, T, F]
    post_logits: jax.Array  # [B, T, S, K] before the uniform mix
    prior_logits: jax.Array  # [B, T, S, K]


def encode_action(action: Mapping[str, jax.Array], spaces: Mapping[str, Space]) -> jax.Array:
    """Concatenate action keys in sorted order, discrete ones as one-hot, into `[..., A]`."""
    parts = []
    for key, space in sorted(spaces.items()):
        value = action[key]
        lead = value.shape[: value.ndim - len(space.shape)]
        if space.classes is not None:
            value = jax.nn.one_hot(value.astype(jnp.int32), space.classes)
        parts.append(value.astype(jnp.float32).reshape(*lead, -1))
    return jnp.concatenate(parts, -1)


def bernoulli_loss(logit: jax.Array, target: jax.Array) -> jax.Array:
    """Return the cross-entropy in nats of a Bernoulli logit against a target in 0 … 1."""
    positive, negative = jax.nn.log_sigmoid(logit), jax.nn.log_sigmoid(-logit)
    return -(target * positive + (1.0 - target) * negative)


@dataclass(frozen=True)
class WorldModel:
    """Modules and scalars of the world model; parameters are arguments.

    `params` holds the entries `encoder`, `dynamics`, `decoder`, `reward` and `cont`.
    """

    spaces: Spaces
    encoder: nn.Module
    dynamics: Dynamics
    decoder: nn.Module
    reward: nn.Module
    cont: nn.Module
    bins: np.ndarray
    cont_target_scale: float  # 1 − 1/discount_horizon with contdisc, otherwise 1
    by_rows: RowMap = all_rows  # how sequences are spread over devices

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Return fresh parameters of all five modules."""
        keys = jax.random.split(key, 5)
        obs = {k: jnp.zeros((1, *s.shape), s.dtype) for k, s in self.spaces.obs.items()}
        action = {k: jnp.zeros((1, *s.shape), s.dtype) for k, s in self.spaces.action.items()}
        embed, encoder = self.encoder.init_with_output(keys[0], obs)
        width = encode_action(action, self.spaces.action).shape[-1]
        latent = self.dynamics.initial(1)
        feat = self.dynamics.feat(latent)
        flat = latent.stoch.reshape(1, -1)
        return {
            "encoder": encoder["params"],
            "dynamics": self.dynamics.init(keys[1], embed.shape[-1], width),
            "decoder": self.decoder.init(keys[2], latent.deter, flat)["params"],
            "reward": self.reward.init(keys[3], feat)["params"],
            "cont": self.cont.init(keys[4], feat)["params"],
        }

    def observe(
        self,
        params: Params,
        start: Latent,
        obs: Mapping[str, jax.Array],
        previous_action: Mapping[str, jax.Array],
        is_first: jax.Array,
        key: jax.Array,
    ) -> Observed:
        """Filter observations `[B, T, ...]` from latent `start` `[B, ...]`.

        Args:
            params: World-model parameters.
            start: Latent before the first step.
            obs: Observations by key.
            previous_action: Actions that led to each step, by key.
            is_first: `[B, T]` bool.
            key: Consumed for the posterior samples.
        """
        noise = self.dynamics.observe_noise(key, is_first.shape)
        rows = (start, obs, previous_action, is_first, noise)
        used = {name: params[name] for name in ("encoder", "dynamics")}
        observed: Observed = self.by_rows(self._observe, used, *rows)
        return observed

    def _observe(
        self,
        params: Params,
        start: Latent,
        obs: Mapping[str, jax.Array],
        previous_action: Mapping[str, jax.Array],
        is_first: jax.Array,
        noise: jax.Array,
    ) -> Observed:
        embed = forward(self.encoder, params["encoder"], obs)
        action = encode_action(previous_action, self.spaces.action)
        latent, post_logits = self.dynamics.observe(
            params["dynamics"], start, embed, action, is_first, noise
        )
        prior_logits = self.dynamics.prior_logits(params["dynamics"], latent.deter)
        return Observed(embed, latent, self.dynamics.feat(latent), post_logits, prior_logits)

    def decode(self, params: Params, latent: Latent) -> dict[str, jax.Array]:
        """Return raw predictions of every observation key (see `nets.decoder`)."""
        stoch = latent.stoch.reshape(*latent.stoch.shape[:-2], -1)
        return forward(self.decoder, params["decoder"], latent.deter, stoch)

    def predict_reward(self, params: Params, feat: jax.Array) -> jax.Array:
        """Return the expected reward `[...]` of arriving in states `[..., F]`."""
        return twohot_mean(forward(self.reward, params["reward"], feat), self.bins)

    def predict_cont(self, params: Params, feat: jax.Array) -> jax.Array:
        """Return the probability `[...]` of continuing; with contdisc it holds the discount."""
        return jax.nn.sigmoid(forward(self.cont, params["cont"], feat)[..., 0])

    def losses(self, params: Params, observed: Observed, batch: Batch) -> dict[str, jax.Array]:
        """Return the unscaled world-model losses `[B, T]` by name.

        Names: `dyn`, `rep`, `reward`, `cont`, and `recon/<key>` of every observation key.
        """
        used = {name: params[name] for name in ("decoder", "reward", "cont")}
        losses: dict[str, jax.Array] = self.by_rows(self._losses, used, observed, batch)
        chex.assert_shape(list(losses.values()), batch.reward.shape)
        return losses

    def _losses(self, params: Params, observed: Observed, batch: Batch) -> dict[str, jax.Array]:
        reward_logits = forward(self.reward, params["reward"], observed.feat)
        cont_logit = forward(self.cont, params["cont"], observed.feat)[..., 0]
        target = (1.0 - batch.is_terminal.astype(jnp.float32)) * self.cont_target_scale
        dyn, rep = self.dynamics.kl_losses(observed.post_logits, observed.prior_logits)
        losses = {
            "dyn": dyn,
            "rep": rep,
            "reward": twohot_loss(reward_logits, batch.reward, self.bins),
            "cont": bernoulli_loss(cont_logit, target),
        }
        for name, raw in self.decode(params, observed.latent).items():
            space = self.spaces.obs[name]
            losses[f"recon/{name}"] = recon_loss(raw, batch.obs[name], space)
        return losses
