"""Parameters and steps of the RSSM: block-GRU core, prior, posterior (docs/algorithm.md 4).

Block layers work on group-major arrays `[G, N, D/G]`, and so the recurrent state stays in that
form from step to step.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from dreamer_jax.nets.layers import (
    MLP,
    BlockDense,
    BlockLayer,
    Dense,
    Dtype,
    Layer,
    Norm,
    affine,
    from_groups,
    kernel_init,
)


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
        count = embed.shape[0]
        grouped = jnp.zeros((self.blocks, count, self.deter // self.blocks), self.dtype)
        stoch = jnp.zeros((count, self.groups * self.classes), self.dtype)
        deter = from_groups(self.core(grouped, stoch, self.action_part(action)))
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

    def core(self, grouped: jax.Array, stoch: jax.Array, action_part: jax.Array) -> jax.Array:
        """Advance the recurrent state, here in its group-major form, by one step.

            x  = per block: concat(own slice of deter, x0(deter), x1(stoch), x2(action))
            x  = silu(norm(block_dense(x)))                              # dynamics_layers times
            r, c, u = per block, thirds of block_dense(x)
            deter' = σ(u − 1)·tanh(σ(r)·c) + (1 − σ(u − 1))·deter

        Args:
            grouped: `[G, N, D/G]`.
            stoch: `[N, S·K]`.
            action_part: `[N, hidden]` from `action_part`.

        Returns:
            `[G, N, D/G]`.
        """
        deter = from_groups(grouped)
        shared = jnp.concatenate([self.from_deter(deter), self.from_stoch(stoch), action_part], -1)
        x = self.core_layers[0](grouped, shared)
        for layer in self.core_layers[1:]:
            x = layer(x)
        reset, candidate, update = jnp.split(self.gates(x), 3, -1)
        candidate = jnp.tanh(nn.sigmoid(reset) * candidate)
        update = nn.sigmoid(update - 1)
        return update * candidate + (1 - update) * grouped

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
