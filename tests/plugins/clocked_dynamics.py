"""A latent dynamics that the package does not know: three columns, one an integer clock.

hidden' = tanh(W·[hidden, code, action]);  code ~ Normal(mean, 1) from hidden' and the embedding
clock' = clock + 1, or 0 at the first step of an episode
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_jax.distributions import Sampler
from dreamer_jax.types import Space

PERIOD = 8.0  # steps, of the clock's pace as heads see it


class Latent(NamedTuple):
    hidden: jax.Array  # [..., D]
    code: jax.Array  # [..., Z]
    clock: jax.Array  # [...] int32


class Filtered(NamedTuple):
    latent: Latent
    feat: jax.Array
    mean: jax.Array  # [B, T, Z] of the code, knowing the observation
    expected: jax.Array  # [B, T, Z] of the code, not knowing it


@dataclass(frozen=True)
class Clocked:
    width: int
    codes: int
    sampler: Sampler
    losses_made = ("surprise",)

    def init(self, key, embed_width, action_width) -> dict[str, Any]:
        inputs = self.width + self.codes + action_width
        shapes = {
            "step": (inputs, self.width),
            "seen": (self.width + embed_width, self.codes),
            "expected": (self.width, self.codes),
        }
        keys = jax.random.split(key, len(shapes))
        return {
            name: {"kernel": jax.random.normal(k, shape) / shape[0] ** 0.5}
            for k, (name, shape) in zip(keys, shapes.items(), strict=True)
        }

    def initial(self, batch) -> Latent:
        zeros = jnp.zeros
        return Latent(
            zeros((batch, self.width)), zeros((batch, self.codes)), zeros(batch, jnp.int32)
        )

    def draw_noise(self, key, shape) -> jax.Array:
        return self.sampler.normal(key, (*shape, self.codes))

    def observe(self, params, start, embed, action, is_first, noise) -> Filtered:
        def step(latent, now):
            embed, action, first, noise = now
            keep = ~first
            old = Latent(
                latent.hidden * keep[:, None],
                latent.code * keep[:, None],
                jnp.where(first, -1, latent.clock),
            )
            hidden = self._advance(params, old, action * keep[:, None])
            mean = jnp.concatenate([hidden, embed], -1) @ params["seen"]["kernel"]
            code = self.sampler.move(mean, jnp.ones_like(mean), noise)
            new = Latent(hidden, code, old.clock + 1)
            return new, (new, mean)

        swap = lambda tree: jax.tree.map(lambda x: x.swapaxes(0, 1), tree)
        embed = embed.astype(jnp.float32)
        _, out = jax.lax.scan(step, start, swap((embed, action, is_first, noise)))
        latent, mean = swap(out)
        expected = latent.hidden @ params["expected"]["kernel"]
        return Filtered(latent, self.feat(latent), mean, expected)

    def imagine(self, params, start, act, inputs, noise):
        def step(latent, now):
            given, noise = now
            action, output = act(latent, given)
            hidden = self._advance(params, latent, action)
            mean = hidden @ params["expected"]["kernel"]
            code = self.sampler.move(mean, jnp.ones_like(mean), noise)
            return Latent(hidden, code, latent.clock + 1), (latent, output)

        last, (latents, outputs) = jax.lax.scan(step, start, (inputs, noise))
        return latents, last, outputs

    def losses(self, params, filtered):  # noqa: ARG002
        surprise = jnp.square(filtered.mean - filtered.expected).sum(-1)
        return {"surprise": surprise}, {"dynamics/clock": filtered.latent.clock.astype(float)}

    def feat(self, latent) -> jax.Array:
        phase = 2 * jnp.pi * latent.clock[..., None] / PERIOD
        return jnp.concatenate([latent.hidden, latent.code, jnp.sin(phase), jnp.cos(phase)], -1)

    def decoder_inputs(self, latent):
        return latent.hidden, latent.code

    def latent_spaces(self) -> dict[str, Space]:
        return {
            "hidden": Space(np.dtype(np.float32), (self.width,)),
            "code": Space(np.dtype(np.float32), (self.codes,)),
            "clock": Space(np.dtype(np.int32), ()),
        }

    def pack(self, latent) -> dict[str, jax.Array]:
        return latent._asdict()

    def unpack(self, columns) -> Latent:
        return Latent(**columns)

    def _advance(self, params, latent, action) -> jax.Array:
        inputs = jnp.concatenate([latent.hidden, latent.code, action], -1)
        return jnp.tanh(inputs @ params["step"]["kernel"])


def make(context) -> Clocked:
    return Clocked(context.widths.deter, context.agent.options.codes, context.sampler)
