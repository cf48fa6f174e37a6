"""First the world model, then the behaviours: two programs, two optimisers, two accounts."""

from __future__ import annotations

import optax

from dreamer_jax.phase import Phase


def make(parts) -> dict[str, Phase]:
    model, behaviors = parts.world_model, tuple(parts.behaviors)
    entries = tuple(entry for each in behaviors for entry in parts.entries(each))
    losses = tuple(loss for each in behaviors for loss in parts.losses(each))
    return {
        "model": Phase(model.modules, parts.scales(model.losses_made), optax.adam(1e-3)),
        "policy": Phase(
            entries,
            parts.scales(losses),
            parts.make_optimizer(entries),
            world_model=False,
            behaviors=behaviors,
            share=0.5,
        ),
    }
