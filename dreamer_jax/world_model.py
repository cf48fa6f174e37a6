"""The world model: encoder, latent dynamics, and the heads and objectives that shape both.

docs/algorithm.md 3-6. Every loss here is `[B, T]`; gradients of all of them reach encoder and
dynamics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn

from dreamer_jax.dynamics.protocol import Dynamics
from dreamer_jax.heads.protocol import Head, Objective, Prediction
from dreamer_jax.nets.layers import forward
from dreamer_jax.ops.rows import RowMap, all_rows
from dreamer_jax.types import Batch, Latent, ModuleParams, Noise, Observed, Params, Space, Spaces

Losses = dict[str, jax.Array]  # by name, each [B, T]
Target = Callable[[Batch], jax.Array]  # what a head learns to predict of every record
Quantities = dict[str, jax.Array]  # by name of the metric that is their mean, each [B, T]


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


@dataclass(frozen=True)
class WorldModel:
    """Modules of the world model; parameters are arguments.

    `params` holds the entries `encoder` and `dynamics`, and one for each objective and head.
    """

    spaces: Spaces
    encoder: nn.Module
    dynamics: Dynamics
    objectives: Mapping[str, Objective]
    heads: Mapping[str, tuple[Head, Target]]  # `reward` and `cont` are what behaviours read
    by_rows: RowMap = all_rows  # how sequences are spread over devices

    @property
    def modules(self) -> tuple[str, ...]:
        """Entries of `params` that the world model owns."""
        return ("encoder", "dynamics", *self.objectives, *self.heads)

    @property
    def losses_made(self) -> tuple[str, ...]:
        """Names of the losses that `losses` returns."""
        made = (objective.losses_made for objective in self.objectives.values())
        return (*self.dynamics.losses_made, *(n for names in made for n in names), *self.heads)

    def init(self, key: jax.Array) -> dict[str, ModuleParams]:
        """Return fresh parameters of all modules."""
        encoder_key, dynamics_key, *keys = jax.random.split(key, len(self.modules))
        obs = {k: jnp.zeros((1, *s.shape), s.dtype) for k, s in self.spaces.obs.items()}
        action = {k: jnp.zeros((1, *s.shape), s.dtype) for k, s in self.spaces.action.items()}
        embed, encoder = self.encoder.init_with_output(encoder_key, obs)
        width = encode_action(action, self.spaces.action).shape[-1]
        latent = self.dynamics.initial(1)
        feat = self.dynamics.feat(latent)
        params = {
            "encoder": encoder["params"],
            "dynamics": self.dynamics.init(dynamics_key, embed.shape[-1], width),
        }
        own = dict(zip((*self.objectives, *self.heads), keys, strict=True))
        for name, objective in self.objectives.items():
            params[name] = objective.init(own[name], latent, feat, embed)
        for name, (head, _) in self.heads.items():
            params[name] = head.init(own[name], feat)
        return params

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
        noise = self.dynamics.draw_noise(key, is_first.shape)
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
        noise: Noise,
    ) -> Observed:
        embed = forward(self.encoder, params["encoder"], obs)
        action = encode_action(previous_action, self.spaces.action)
        dynamics = params["dynamics"]
        return Observed(
            embed, self.dynamics.observe(dynamics, start, embed, action, is_first, noise)
        )

    def losses(self, params: Params, observed: Observed, batch: Batch) -> tuple[Losses, Quantities]:
        """Return the unscaled losses of dynamics, objectives and heads, and what to log."""
        used = {name: params[name] for name in self.modules if name != "encoder"}
        losses, quantities = self.by_rows(self._losses, used, observed, batch)
        chex.assert_shape([*losses.values(), *quantities.values()], batch.reward.shape)
        return losses, quantities

    def _losses(
        self, params: Params, observed: Observed, batch: Batch
    ) -> tuple[Losses, Quantities]:
        losses, quantities = self.dynamics.losses(params["dynamics"], observed.filtered)
        for name, (head, target) in self.heads.items():
            losses[name] = head(params[name], observed.feat).loss(target(batch))
        for name, objective in self.objectives.items():
            more, seen = objective.losses(params[name], observed, batch)
            losses, quantities = losses | more, quantities | seen
        return losses, quantities

    def predict(self, name: str, params: Params, feat: jax.Array) -> jax.Array:
        """Return what the head `name` expects `[...]` in states `[..., F]`."""
        head, _ = self.heads[name]
        return head(params[name], feat).mean()

    def decode(self, params: Params, latent: Latent) -> dict[str, Prediction]:
        """Return predictions of every observation key that an objective can decode."""
        predicted: dict[str, Prediction] = {}
        for name, objective in self.objectives.items():
            predicted |= objective.decode(params[name], latent)
        return predicted
