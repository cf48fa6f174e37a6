"""Makers of objectives, which shape the world model beside its dynamics and heads."""

from __future__ import annotations

from typing import Any

from dreamer_jax.dynamics.protocol import Dynamics
from dreamer_jax.heads.reconstruction import Reconstruct
from dreamer_jax.makers.context import Context
from dreamer_jax.nets.decoder import Decoder


def make_reconstruction(context: Context, dynamics: Dynamics) -> Reconstruct:
    """Return the objective to reconstruct all observation keys."""
    agent, widths, spaces = context.agent, context.widths, context.spaces.obs
    decoder = Decoder(
        spaces=spaces,
        layers=agent.decoder_layers,
        units=widths.units["decoder"],
        depth=widths.decoder_depth,
        blocks=agent.decoder_blocks,
        dtype=context.dtype,
    )
    return Reconstruct(decoder, dynamics.decoder_inputs, spaces)


OBJECTIVES: dict[str, Any] = {"reconstruction": make_reconstruction}
