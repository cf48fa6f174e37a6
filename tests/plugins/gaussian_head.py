"""A head that predicts a number as a normal distribution of learned width."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from dreamer_jax.heads.network import NetworkHead
from dreamer_jax.nets.head_nets import HeadNet


@dataclass(frozen=True)
class Gaussian:
    raw: jax.Array  # [..., 2] mean and logarithm of the deviation

    def loss(self, target: jax.Array) -> jax.Array:
        mean, log_std = self.raw[..., 0], jnp.clip(self.raw[..., 1], -5.0, 2.0)
        return 0.5 * jnp.square((target - mean) / jnp.exp(log_std)) + log_std

    def mean(self) -> jax.Array:
        return self.raw[..., 0]


def make(context, name) -> NetworkHead:
    layers, units = context.agent[f"{name}_layers"], context.widths.units[name]
    return NetworkHead(HeadNet(layers, units, 2, 1.0, context.dtype), Gaussian)
