"""Makers of phases, the kinds of update."""

from __future__ import annotations

from typing import Any

from dreamer_jax.makers.context import Parts
from dreamer_jax.phase import Phase


def make_joint(parts: Parts) -> dict[str, Phase]:
    """Return the one phase of the published algorithm: everything at once."""
    world_model, behaviors = parts.world_model, tuple(parts.behaviors)
    entries = (name for each in behaviors for name in parts.entries(each))
    losses = (name for each in behaviors for name in parts.losses(each))
    modules = (*world_model.modules, *entries)
    return {
        "joint": Phase(
            modules=modules,
            losses=parts.scales((*world_model.losses_made, *losses)),
            optimizer=parts.make_optimizer(modules),
            behaviors=behaviors,
        )
    }


PHASES: dict[str, Any] = {"joint": make_joint}
