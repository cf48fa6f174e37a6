"""The recurrent state-space model of edition v3 (SPEC 4): block-GRU and categorical latents.

`RSSMNet` declares parameters and single-step forward passes; `RSSM` runs them over time. What
depends on observations or actions alone is computed before the scan, so that a step holds only
what the recurrence forces into it. Inside a step block layers work on group-major arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn

from dreamer_jax.distributions import Sampler
from dreamer_jax.dynamics.protocol import Params
from dreamer_jax.nets.layers import (
    MLP,
    BlockDense,
    BlockLayer,
    Dense,
    Dtype,
    Layer,
    Norm,
    affine,
    forward,
    from_groups,
    kernel_init,
    to_groups,
)
from dreamer_jax.ops.onehot import (
    categorical_entropy,
    categorical_kl,
    mixed_log_probs,
    straight_through,
)
from dreamer_jax.types import Latent


class JointLayer(nn.Module):
    """`silu(norm(dense(concat(deter, embed))))` whose embedding part can be computed early.

    One kernel `[D + E, units]`, so that initialisation and clipping see one tensor; its two parts
    are multiplied apart because `embed` is known before the recurrence starts.
    """

    units: int
    deter: int
    dtype: Dtype

    def setup(self) -> None:
        """Declare the norm; the kernel waits for the embedding's width."""
        self.norm = Norm()

    @nn.compact
    def embed_part(self, embed: jax.Array) -> jax.Array:
        """Return the share `[..., units]` of the pre-activation that needs no recurrence."""
        shape = (self.deter + embed.shape[-1], self.units)
        kernel = self.param("kernel", kernel_init(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.units,))
        return affine(embed, kernel[self.deter :], bias, self.dtype)

    def __call__(self, deter: jax.Array, embed_part: jax.Array) -> jax.Array:
        """Map `[..., D]` and the early part to `[..., units]`."""
        kernel: jax.Array = self.get_variable("params", "kernel")[: self.deter]
        return nn.silu(self.norm(deter @ kernel.astype(self.dtype) + embed_part))


class RSSMNet(nn.Module):
    """Parameters and single steps of the RSSM; flat batches `[N, ...]` throughout."""

    deter: int
    hidden: int
    groups: int
    classes: int
    blocks: int
    dynamics_layers: int
    prior_layers: int
    posterior_layers: int
    dtype: Dtype

    def setup(self) -> None:
        """Declare the layers in the order in which a step meets them."""
        self.from_deter = Layer(self.hidden, self.dtype)
        self.from_stoch = Layer(self.hidden, self.dtype)
        self.from_action = Layer(self.hidden, self.dtype)
        self.core_layers = [
            BlockLayer(self.deter, self.blocks, self.dtype) for _ in range(self.dynamics_layers)
        ]
        self.gates = BlockDense(3 * self.deter, self.blocks, self.dtype)
        self.posterior_joint = JointLayer(self.hidden, self.deter, self.dtype)
        self.posterior_mlp = MLP(self.posterior_layers - 1, self.hidden, self.dtype)
        self.posterior_out = Dense(self.groups * self.classes, self.dtype)
        self.prior_mlp = MLP(self.prior_layers, self.hidden, self.dtype)
        self.prior_out = Dense(self.groups * self.classes, self.dtype)

    def __call__(self, embed: jax.Array, action: jax.Array) -> jax.Array:
        """Touch every parameter once, from zero latents; only `init` calls this."""
        deter = jnp.zeros((embed.shape[0], self.deter), self.dtype)
        stoch = jnp.zeros((embed.shape[0], self.groups * self.classes), self.dtype)
        deter = self.core(deter, stoch, self.action_part(action))
        return self.posterior(deter, self.embed_part(embed)) + self.prior(deter)

    def action_part(self, action: jax.Array) -> jax.Array:
        """Return the hidden representation `[..., hidden]` of an encoded action.

        Actions are scaled into ±1 elementwise, without gradient through the scale.
        """
        scale = jax.lax.stop_gradient(jnp.maximum(1.0, jnp.abs(action)))
        return self.from_action((action / scale).astype(self.dtype))

    def embed_part(self, embed: jax.Array) -> jax.Array:
        """Return the posterior's share `[..., hidden]` that depends on the observation alone."""
        return self.posterior_joint.embed_part(embed)

    def core(self, deter: jax.Array, stoch: jax.Array, action_part: jax.Array) -> jax.Array:
        """Advance the recurrent state by one step.

            x  = per block: concat(own slice of deter, x0(deter), x1(stoch), x2(action))
            x  = silu(norm(block_dense(x)))                              # dynamics_layers times
            r, c, u = per block, thirds of block_dense(x)
            deter' = σ(u − 1)·tanh(σ(r)·c) + (1 − σ(u − 1))·deter

        Args:
            deter: `[N, D]`.
            stoch: `[N, S·K]`.
            action_part: `[N, hidden]` from `action_part`.

        Returns:
            `[N, D]`.
        """
        shared = jnp.concatenate([self.from_deter(deter), self.from_stoch(stoch), action_part], -1)
        own = to_groups(deter, self.blocks)
        x = self.core_layers[0](own, shared)
        for layer in self.core_layers[1:]:
            x = layer(x)
        reset, candidate, update = jnp.split(self.gates(x), 3, -1)
        candidate = jnp.tanh(nn.sigmoid(reset) * candidate)
        update = nn.sigmoid(update - 1)
        return from_groups(update * candidate + (1 - update) * own)

    def posterior(self, deter: jax.Array, embed_part: jax.Array) -> jax.Array:
        """Return posterior logits `[..., S, K]` float32, before the uniform mix."""
        return self._logits(
            self.posterior_out(self.posterior_mlp(self.posterior_joint(deter, embed_part)))
        )

    def prior(self, deter: jax.Array) -> jax.Array:
        """Return prior logits `[..., S, K]` float32, before the uniform mix."""
        return self._logits(self.prior_out(self.prior_mlp(deter)))

    def _logits(self, x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:-1], self.groups, self.classes).astype(jnp.float32)


@dataclass(frozen=True)
class RSSM:
    """The RSSM over time; implements `Dynamics`. Holds sizes only, parameters are arguments."""

    deter: int
    hidden: int
    groups: int
    classes: int
    blocks: int
    dynamics_layers: int
    prior_layers: int
    posterior_layers: int
    unimix: float
    free_nats: float
    sampler: Sampler
    dtype: Dtype

    @cached_property
    def net(self) -> RSSMNet:
        """The Linen module that declares the parameters."""
        return RSSMNet(
            self.deter,
            self.hidden,
            self.groups,
            self.classes,
            self.blocks,
            self.dynamics_layers,
            self.prior_layers,
            self.posterior_layers,
            self.dtype,
        )

    def init(self, key: jax.Array, embed_width: int, action_width: int) -> Params:
        """Return fresh parameters."""
        embed, action = jnp.zeros((1, embed_width), self.dtype), jnp.zeros((1, action_width))
        return self.net.init(key, embed, action)["params"]

    def initial(self, batch: int) -> Latent:
        """Return zeros."""
        return Latent(
            jnp.zeros((batch, self.deter), self.dtype),
            jnp.zeros((batch, self.groups, self.classes), self.dtype),
        )

    def observe_noise(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Draw noise `[*shape, S]`, for posterior and prior samples alike."""
        return self.sampler.uniform(key, (*shape, self.groups))

    def observe(
        self,
        params: Params,
        start: Latent,
        embed: jax.Array,
        action: jax.Array,
        is_first: jax.Array,
        noise: jax.Array,
    ) -> tuple[Latent, jax.Array]:
        """Filter a sequence: what was known before a record with `is_first` cannot influence it.

        Args:
            params: Parameters of `RSSMNet`.
            start: Latent `[B, ...]` before the first step.
            embed: `[B, T, E]`.
            action: `[B, T, A]` encoded action that led to each step.
            is_first: `[B, T]` bool; zeroes latent and action before the step.
            noise: `[B, T, S]` from `observe_noise`.

        Returns:
            Posterior latents `[B, T, ...]` and posterior logits `[B, T, S, K]` before the mix.
        """
        chex.assert_equal_shape_prefix([embed, action, is_first, noise], 2)
        action = jnp.where(is_first[..., None], 0.0, action)
        action_part = forward(self.net, params, action, method="action_part")
        embed_part = forward(self.net, params, embed, method="embed_part")
        inputs = (action_part, embed_part, is_first, noise)

        def step(
            latent: Latent, now: tuple[jax.Array, ...]
        ) -> tuple[Latent, tuple[Latent, jax.Array]]:
            action_part, embed_part, first, noise = now
            deter, stoch = (jnp.where(first.reshape(-1, *[1] * (x.ndim - 1)), 0, x) for x in latent)
            stoch = self._flat(stoch)
            deter = forward(self.net, params, deter, stoch, action_part, method="core")
            logits = forward(self.net, params, deter, embed_part, method="posterior")
            latent = Latent(deter, self._sample(logits, noise))
            return latent, (latent, logits)

        _, outputs = jax.lax.scan(step, start, _swap_time(inputs))
        return _swap_time(outputs)

    def imagine_step(
        self, params: Params, latent: Latent, action: jax.Array, noise: jax.Array
    ) -> Latent:
        """Return the next latent `[N, ...]`, its `stoch` drawn from the prior."""
        part = forward(self.net, params, action, method="action_part")
        stoch = self._flat(latent.stoch)
        deter = forward(self.net, params, latent.deter, stoch, part, method="core")
        return Latent(deter, self._sample(self.prior_logits(params, deter), noise))

    def prior_logits(self, params: Params, deter: jax.Array) -> jax.Array:
        """Return prior logits `[..., S, K]` float32, before the uniform mix."""
        return forward(self.net, params, deter, method="prior")

    def kl_losses(
        self, post_logits: jax.Array, prior_logits: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Return `dyn` and `rep`, equal in value and different in gradient.

            dyn = max(free, KL(sg(post) ‖ prior)),   rep = max(free, KL(post ‖ sg(prior)))

        Args:
            post_logits: `[..., S, K]`.
            prior_logits: `[..., S, K]`.

        Returns:
            Two `[...]` arrays in nats, summed over groups before the floor.
        """
        sg = jax.lax.stop_gradient
        post = mixed_log_probs(post_logits, self.unimix)
        prior = mixed_log_probs(prior_logits, self.unimix)
        dyn = jnp.maximum(self.free_nats, categorical_kl(sg(post), prior))
        rep = jnp.maximum(self.free_nats, categorical_kl(post, sg(prior)))
        return dyn, rep

    def entropy(self, logits: jax.Array) -> jax.Array:
        """Return the entropy in nats of the mixed distribution, summed over groups."""
        return categorical_entropy(mixed_log_probs(logits, self.unimix))

    def feat(self, latent: Latent) -> jax.Array:
        """Return `concat(deter, stoch)` `[..., D + S·K]`."""
        return jnp.concatenate([latent.deter, self._flat(latent.stoch)], -1)

    def pack(self, latent: Latent) -> Latent:
        """Return the stored form: `stoch` as uint8 class indices `[..., S]`."""
        return Latent(latent.deter, jnp.argmax(latent.stoch, -1).astype(jnp.uint8))

    def unpack(self, latent: Latent) -> Latent:
        """Return the state of a stored latent; a `stoch` that is one-hot already stays."""
        stoch = latent.stoch
        if jnp.issubdtype(stoch.dtype, jnp.integer):
            stoch = jax.nn.one_hot(stoch, self.classes)
        return Latent(latent.deter.astype(self.dtype), stoch.astype(self.dtype))

    def _flat(self, stoch: jax.Array) -> jax.Array:
        return stoch.reshape(*stoch.shape[:-2], -1)

    def _sample(self, logits: jax.Array, noise: jax.Array) -> jax.Array:
        probs = jnp.exp(mixed_log_probs(logits, self.unimix))
        index = self.sampler.choose(jax.lax.stop_gradient(probs), noise)
        return straight_through(index, probs).astype(self.dtype)


def _swap_time(tree: Any) -> Any:
    """Turn batch-major `[B, T, ...]` leaves into time-major ones, or back."""
    return jax.tree.map(lambda x: x.swapaxes(0, 1), tree)
