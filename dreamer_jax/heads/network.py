"""The usual head: one network, and what its outputs mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
from flax import linen as nn

from dreamer_jax.heads.protocol import Prediction
from dreamer_jax.nets.layers import forward
from dreamer_jax.types import ModuleParams


@dataclass(frozen=True)
class NetworkHead:
    """A Linen module and the meaning of its outputs; implements `Head`."""

    module: nn.Module
    meaning: Callable[[jax.Array], Prediction]  # from raw outputs `[..., outputs]`

    def init(self, key: jax.Array, feat: jax.Array) -> ModuleParams:
        """Return fresh parameters of the module."""
        return self.module.init(key, feat)["params"]

    def __call__(self, params: ModuleParams, feat: jax.Array) -> Prediction:
        """Return the prediction in states `[..., F]`."""
        return self.meaning(forward(self.module, params, feat))
