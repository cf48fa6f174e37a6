"""An objective without a decoder: every state finds its own embedding among those of its row."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Contrast:
    losses_made = ("contrast",)

    def init(self, key, latent, feat, embed):  # noqa: ARG002
        shape = (feat.shape[-1], embed.shape[-1])
        return {"kernel": jax.random.normal(key, shape) / shape[0] ** 0.5}

    def losses(self, params, observed, batch):  # noqa: ARG002
        embed = observed.embed.astype(jnp.float32)
        scores = jnp.einsum("btf,fe,bse->bts", observed.feat, params["kernel"], embed)
        found = jnp.diagonal(jax.nn.log_softmax(scores, -1), axis1=1, axis2=2)
        return {"contrast": -found}, {"contrast/found": jnp.exp(found)}

    def decode(self, params, latent):  # noqa: ARG002
        return {}


def make(context, dynamics) -> Contrast:  # noqa: ARG001
    return Contrast()
