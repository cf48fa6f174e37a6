"""Makers of heads, and what the published heads learn to predict."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict

from dreamer_jax.heads.network import NetworkHead
from dreamer_jax.heads.predictions import Bernoulli, TwoHot
from dreamer_jax.makers.context import Context
from dreamer_jax.nets.head_nets import HeadNet
from dreamer_jax.ops.twohot import symexp_bins
from dreamer_jax.types import Batch
from dreamer_jax.world_model import Target


def make_twohot(context: Context, name: str) -> NetworkHead:
    """Return a head that predicts a number; its kernel starts at zero, so it first says 0."""
    bins = symexp_bins(context.agent.bins)
    return NetworkHead(_head_net(context, name, len(bins), 0.0), partial(TwoHot, bins=bins))


def make_bernoulli(context: Context, name: str) -> NetworkHead:
    """Return a head that predicts a probability."""
    return NetworkHead(_head_net(context, name, 1, 1.0), Bernoulli)


def _head_net(context: Context, name: str, outputs: int, outscale: float) -> HeadNet:
    """Return the network of a head; one that no option knows is as deep and wide as `reward`."""
    layers = context.agent.get(f"{name}_layers", context.agent.reward_layers)
    units = context.widths.units.get(name, context.widths.units["reward"])
    return HeadNet(layers, units, outputs, outscale, context.dtype)


def targets(agent: ConfigDict) -> dict[str, Target]:
    """Return what the heads of the published agent learn to predict of every record."""
    scale = 1 - 1 / agent.discount_horizon if agent.contdisc else 1.0

    def cont(batch: Batch) -> Any:
        return (1.0 - batch.is_terminal.astype(jnp.float32)) * scale

    return {"reward": lambda batch: batch.reward, "cont": cont}


HEADS: dict[str, Any] = {"twohot": make_twohot, "bernoulli": make_bernoulli}
