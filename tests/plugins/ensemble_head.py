"""A head of several members with the same architecture: their mean, and the sum of their losses."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from dreamer_jax.heads.protocol import Head, Prediction
from dreamer_jax.makers import make_bernoulli


@dataclass(frozen=True)
class Members:
    predictions: list[Prediction]

    def loss(self, target: jax.Array) -> jax.Array:
        return jnp.stack([each.loss(target) for each in self.predictions]).sum(0)

    def mean(self) -> jax.Array:
        return jnp.stack([each.mean() for each in self.predictions]).mean(0)


@dataclass(frozen=True)
class Ensemble:
    member: Head
    size: int

    def init(self, key, feat):
        keys = jax.random.split(key, self.size)
        return {f"member{i}": self.member.init(k, feat) for i, k in enumerate(keys)}

    def __call__(self, params, feat) -> Members:
        return Members([self.member(params[f"member{i}"], feat) for i in range(self.size)])


def make(context, name) -> Ensemble:
    return Ensemble(make_bernoulli(context, name), context.agent.options.members)
