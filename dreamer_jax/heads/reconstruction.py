"""The objective of the published world model: to reconstruct the observation.

Gradients reach encoder and dynamics (docs/algorithm.md 6).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
from flax import linen as nn

from dreamer_jax.heads.predictions import predict_key
from dreamer_jax.heads.protocol import Prediction
from dreamer_jax.nets.layers import forward
from dreamer_jax.types import Batch, Latent, ModuleParams, Observed, Space

Made = tuple[dict[str, jax.Array], dict[str, jax.Array]]  # losses and quantities, [B, T] each


@dataclass(frozen=True)
class Reconstruct:
    """A decoder that learns to predict all observation keys; implements `Objective`."""

    decoder: nn.Module
    inputs: Callable[[Latent], tuple[jax.Array, jax.Array]]  # `Dynamics.decoder_inputs`
    spaces: Mapping[str, Space]

    @property
    def losses_made(self) -> tuple[str, ...]:
        """One loss for each observation key."""
        return tuple(f"recon/{key}" for key in self.spaces)

    def init(
        self,
        key: jax.Array,
        latent: Latent,
        feat: jax.Array,  # noqa: ARG002
        embed: jax.Array,  # noqa: ARG002
    ) -> ModuleParams:
        """Return fresh parameters of the decoder."""
        return self.decoder.init(key, *self.inputs(latent))["params"]

    def losses(self, params: ModuleParams, observed: Observed, batch: Batch) -> Made:
        """Return the reconstruction loss of every key."""
        predicted = self.decode(params, observed.latent)
        return {f"recon/{key}": each.loss(batch.obs[key]) for key, each in predicted.items()}, {}

    def decode(self, params: ModuleParams, latent: Latent) -> dict[str, Prediction]:
        """Return the prediction of every observation key in latents `[..., *]`."""
        raw = forward(self.decoder, params, *self.inputs(latent))
        return {key: predict_key(value, self.spaces[key]) for key, value in raw.items()}
