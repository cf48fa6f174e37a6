"""Makers of latent dynamics."""

from __future__ import annotations

from typing import Any

from dreamer_jax.dynamics.rssm import RSSM
from dreamer_jax.dynamics.rssm_net import RSSMNet
from dreamer_jax.makers.context import Context


def make_rssm(context: Context) -> RSSM:
    """Return the dynamics of edition v3."""
    agent, widths = context.agent, context.widths
    net = RSSMNet(
        deter=widths.deter,
        hidden=widths.hidden,
        groups=agent.groups,
        classes=widths.classes,
        blocks=agent.blocks,
        dynamics_layers=agent.dynamics_layers,
        prior_layers=agent.prior_layers,
        posterior_layers=agent.posterior_layers,
        dtype=context.dtype,
    )
    return RSSM(net, agent.unimix, agent.free_nats, context.sampler)


DYNAMICS: dict[str, Any] = {"rssm": make_rssm}
