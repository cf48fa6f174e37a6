"""What makers are given: the config, the sizes, and how anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import optax
from ml_collections import ConfigDict

from dreamer_jax.agent import MAIN
from dreamer_jax.behavior.protocol import Behavior
from dreamer_jax.distributions import Sampler
from dreamer_jax.nets.layers import Dtype
from dreamer_jax.nets.widths import Widths
from dreamer_jax.ops.spread import Spread
from dreamer_jax.types import Spaces
from dreamer_jax.world_model import WorldModel


@dataclass(frozen=True)
class Context:
    """What every maker is given."""

    agent: ConfigDict  # the `agent` part of the config; `agent.options` is for plug-ins
    widths: Widths
    spaces: Spaces
    dtype: Dtype  # that layers compute in
    sampler: Sampler
    spread: Spread  # how functions of many rows are evaluated


@dataclass(frozen=True)
class Parts:
    """What a maker of phases is given: the finished parts, and what the config says of them."""

    context: Context
    world_model: WorldModel
    behaviors: Mapping[str, Behavior]
    make_optimizer: Callable[[tuple[str, ...]], optax.GradientTransformation]  # by entries

    def entries(self, behavior: str) -> tuple[str, ...]:
        """Return the entries of `params` that a behaviour owns."""
        return self._prefixed(behavior, self.behaviors[behavior].modules)

    def losses(self, behavior: str) -> tuple[str, ...]:
        """Return the full names of a behaviour's losses."""
        return self._prefixed(behavior, self.behaviors[behavior].losses_made)

    def scales(self, losses: tuple[str, ...]) -> dict[str, float]:
        """Return the configured scale of each loss.

        `recon/image` takes the scale of its full name, or else of `recon`; the loss `actor` of a
        behaviour `explore` that of `explore/actor`, or else of `actor`.

        Raises:
            ValueError: If the config has none.
        """
        scales = self.context.agent.loss_scales
        found = {}
        for name in losses:
            candidates = (name, name.partition("/")[0], name.rpartition("/")[2])
            known = [scales[each] for each in candidates if each in scales]
            if not known:
                raise ValueError(
                    f"loss {name!r} has no scale; add --config.agent.loss_scales.{name}=1.0, or "
                    "set it in a config file"
                )
            found[name] = float(known[0])
        return found

    def _prefixed(self, behavior: str, names: tuple[str, ...]) -> tuple[str, ...]:
        return names if behavior == MAIN else tuple(f"{behavior}/{name}" for name in names)
