"""Makers of encoders: Linen modules from observations by key to one `embed`."""

from __future__ import annotations

from typing import Any

from dreamer_jax.makers.context import Context
from dreamer_jax.nets.encoder import Encoder


def make_encoder(context: Context) -> Encoder:
    """Return the encoder of edition v3."""
    agent, widths = context.agent, context.widths
    return Encoder(
        spaces=context.spaces.obs,
        layers=agent.encoder_layers,
        units=widths.units["encoder"],
        depth=widths.encoder_depth,
        dtype=context.dtype,
        strided=agent.encoder_strided,
    )


ENCODERS: dict[str, Any] = {"v3": make_encoder}
