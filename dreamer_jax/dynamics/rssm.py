"""The recurrent state-space model (docs/algorithm.md 4): block-GRU and categorical latents.

`RSSM` runs the single steps of `RSSMNet` over time. What depends on observations or actions alone
is computed before the scan, so that a step holds only what the recurrence forces into it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from dreamer_jax.distributions import Sampler
from dreamer_jax.dynamics.protocol import Act
from dreamer_jax.dynamics.rssm_net import RSSMNet
from dreamer_jax.nets.layers import forward, from_groups, to_groups
from dreamer_jax.ops.categorical import (
    categorical_entropy,
    categorical_kl,
    mixed_log_probs,
    mixed_probs,
    straight_through,
)
from dreamer_jax.types import Columns, ModuleParams, Space, Tree


class Latent(NamedTuple):
    """State of the RSSM."""

    deter: jax.Array  # [..., D] recurrent state
    stoch: jax.Array  # [..., S, K] one-hot


class Filtered(NamedTuple):
    """A filtered sequence."""

    latent: Latent  # [B, T, ...] posterior
    feat: jax.Array  # [B, T, F]
    post_logits: jax.Array  # [B, T, S, K] before the uniform mix
    prior_logits: jax.Array  # [B, T, S, K]


class State(NamedTuple):
    """What a scan carries: the latent with its recurrent part in group-major form."""

    grouped: jax.Array  # [G, N, D/G]
    stoch: jax.Array  # [N, S, K]


@dataclass(frozen=True)
class RSSM:
    """The RSSM over time; implements `Dynamics`. Parameters are arguments."""

    net: RSSMNet  # declares the parameters, and knows the sizes
    unimix: float  # uniform share of latent distributions
    free_nats: float  # floor of each KL loss
    sampler: Sampler

    @property
    def losses_made(self) -> tuple[str, ...]:
        """The two sides of the KL divergence."""
        return ("dyn", "rep")

    def init(self, key: jax.Array, embed_width: int, action_width: int) -> ModuleParams:
        """Return fresh parameters."""
        embed, action = jnp.zeros((1, embed_width), self.net.dtype), jnp.zeros((1, action_width))
        return self.net.init(key, embed, action)["params"]

    def initial(self, batch: int) -> Latent:
        """Return zeros."""
        net = self.net
        return Latent(
            jnp.zeros((batch, net.deter), net.dtype),
            jnp.zeros((batch, net.groups, net.classes), net.dtype),
        )

    def draw_noise(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Draw noise `[*shape, S]`, for posterior and prior samples alike."""
        return self.sampler.uniform(key, (*shape, self.net.groups))

    def observe(
        self,
        params: ModuleParams,
        start: Latent,
        embed: jax.Array,
        action: jax.Array,
        is_first: jax.Array,
        noise: jax.Array,
    ) -> Filtered:
        """Filter a sequence: what was known before a record with `is_first` cannot influence it.

        Args:
            params: Parameters of `RSSMNet`.
            start: Latent `[B, ...]` before the first step.
            embed: `[B, T, E]`.
            action: `[B, T, A]` encoded action that led to each step.
            is_first: `[B, T]` bool; zeroes latent and action before the step.
            noise: `[B, T, S]` from `draw_noise`.

        """
        chex.assert_equal_shape_prefix([embed, action, is_first, noise], 2)
        action = jnp.where(is_first[..., None], 0.0, action)
        action_part = forward(self.net, params, action, method="action_part")
        embed_part = forward(self.net, params, embed, method="embed_part")
        inputs = (action_part, embed_part, is_first, noise)

        def step(
            state: State, now: tuple[jax.Array, ...]
        ) -> tuple[State, tuple[Latent, jax.Array]]:
            action_part, embed_part, first, noise = now
            grouped = jnp.where(first[:, None], 0, state.grouped)
            stoch = jnp.where(first[:, None, None], 0, state.stoch)
            grouped, deter = self._advance(params, State(grouped, stoch), action_part)
            logits = forward(self.net, params, deter, embed_part, method="posterior")
            stoch = self._sample(logits, noise)
            return State(grouped, stoch), (Latent(deter, stoch), logits)

        _, outputs = jax.lax.scan(step, self._state(start), _swap_time(inputs))
        latent, post_logits = _swap_time(outputs)
        prior_logits = self._prior_logits(params, latent.deter)
        return Filtered(latent, self.feat(latent), post_logits, prior_logits)

    def imagine(
        self, params: ModuleParams, start: Latent, act: Act, inputs: Tree, noise: jax.Array
    ) -> tuple[Latent, Latent, Tree]:
        """Roll out H steps without observations: act, advance, draw from the prior.

        Args:
            params: Parameters of `RSSMNet`.
            start: Latent `[N, ...]`.
            act: From a latent and one step of `inputs` to the encoded action `[N, A]` that is
                taken there, and an output to collect.
            inputs: Tree of `[H, ...]`.
            noise: `[H, N, S]` from `draw_noise`.

        Returns:
            Latents `[H, N, ...]` in which it acted, `start` being the first; the latent `[N, ...]`
            after the last action; collected outputs `[H, ...]`.
        """

        def step(
            carry: tuple[State, Latent], now: tuple[Tree, jax.Array]
        ) -> tuple[tuple[State, Latent], tuple[Latent, Tree]]:
            (state, latent), (given, noise) = carry, now
            action, output = act(latent, given)
            action_part = forward(self.net, params, action, method="action_part")
            grouped, deter = self._advance(params, state, action_part)
            stoch = self._sample(self._prior_logits(params, deter), noise)
            return (State(grouped, stoch), Latent(deter, stoch)), (latent, output)

        carry = (self._state(start), start)
        (_, last), (latents, outputs) = jax.lax.scan(step, carry, (inputs, noise))
        return latents, last, outputs

    def losses(
        self,
        params: ModuleParams,  # noqa: ARG002
        filtered: Filtered,
    ) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """Return `dyn` and `rep`, equal in value and different in gradient, and entropies.

            dyn = max(free, KL(sg(post) ‖ prior)),   rep = max(free, KL(post ‖ sg(prior)))

        Losses are `[B, T]` nats, summed over groups before the floor; entropies of the mixed
        distributions likewise.
        """
        sg = jax.lax.stop_gradient
        post = mixed_log_probs(filtered.post_logits, self.unimix)
        prior = mixed_log_probs(filtered.prior_logits, self.unimix)
        losses = {
            "dyn": jnp.maximum(self.free_nats, categorical_kl(sg(post), prior)),
            "rep": jnp.maximum(self.free_nats, categorical_kl(post, sg(prior))),
        }
        entropies = {
            "dynamics/prior_entropy": categorical_entropy(prior),
            "dynamics/post_entropy": categorical_entropy(post),
        }
        return losses, entropies

    def feat(self, latent: Latent) -> jax.Array:
        """Return `concat(deter, stoch)` `[..., D + S·K]`."""
        return jnp.concatenate([latent.deter, self._flat(latent.stoch)], -1)

    def decoder_inputs(self, latent: Latent) -> tuple[jax.Array, jax.Array]:
        """Return `deter` `[..., D]` and the flat `stoch` `[..., S·K]`."""
        return latent.deter, self._flat(latent.stoch)

    def latent_spaces(self) -> dict[str, Space]:
        """Return `deter` in the compute dtype, and `stoch` as uint8 class indices `[S]`."""
        return {
            "deter": Space(np.dtype(self.net.dtype), (self.net.deter,)),
            "stoch": Space(np.dtype(np.uint8), (self.net.groups,)),
        }

    def pack(self, latent: Latent) -> Columns:
        """Return the stored form: `stoch` as uint8 class indices `[..., S]`."""
        return {"deter": latent.deter, "stoch": jnp.argmax(latent.stoch, -1).astype(jnp.uint8)}

    def unpack(self, columns: Columns) -> Latent:
        """Return the latents of stored columns."""
        stoch = jax.nn.one_hot(columns["stoch"], self.net.classes)
        return Latent(columns["deter"].astype(self.net.dtype), stoch.astype(self.net.dtype))

    def _prior_logits(self, params: ModuleParams, deter: jax.Array) -> jax.Array:
        """Return prior logits `[..., S, K]` float32, before the uniform mix."""
        return forward(self.net, params, deter, method="prior")

    def _state(self, latent: Latent) -> State:
        return State(to_groups(latent.deter, self.net.blocks), latent.stoch)

    def _advance(
        self, params: ModuleParams, state: State, action_part: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Return the next recurrent state, group-major `[G, N, D/G]` and as rows `[N, D]`.

        Scans carry the first and read the second. Were only rows kept, XLA for CPU would fuse the
        gates into the transposition and not vectorise them: 4.0 ms instead of 0.5 ms for 512
        states of 512 units.
        """
        stoch = self._flat(state.stoch)
        grouped = forward(self.net, params, state.grouped, stoch, action_part, method="core")
        return grouped, from_groups(grouped)

    def _flat(self, stoch: jax.Array) -> jax.Array:
        return stoch.reshape(*stoch.shape[:-2], -1)

    def _sample(self, logits: jax.Array, noise: jax.Array) -> jax.Array:
        probs = mixed_probs(logits, self.unimix)
        index = self.sampler.choose(jax.lax.stop_gradient(probs), noise)
        return straight_through(index, probs).astype(self.net.dtype)


def _swap_time(tree: Tree) -> Tree:
    """Turn batch-major `[B, T, ...]` leaves into time-major ones, or back."""
    return jax.tree.map(lambda x: x.swapaxes(0, 1), tree)
