"""What the world model and behaviours ask of heads and objectives. Pure in `params`."""

from __future__ import annotations

from typing import Protocol

import jax

from dreamer_jax.types import Batch, Latent, ModuleParams, Observed


class Prediction(Protocol):
    """A prediction as a head gives it; exists only while a program is traced."""

    def loss(self, target: jax.Array) -> jax.Array:
        """Return the loss `[...]` against a target, summed over the target's own axes."""
        ...

    def mean(self) -> jax.Array:
        """Return the expected value in the target's own units."""
        ...


class Head(Protocol):
    """Predicts one thing from model states."""

    def init(self, key: jax.Array, feat: jax.Array) -> ModuleParams:
        """Return fresh parameters for states like `feat [1, F]`."""
        ...

    def __call__(self, params: ModuleParams, feat: jax.Array) -> Prediction:
        """Return the prediction in states `[..., F]`."""
        ...


class Objective(Protocol):
    """Something that shapes the world model beside its dynamics' losses and its heads.

    Reconstruction is one; an objective that needs no decoder is another.

    Attributes:
        losses_made: Names of the losses that `losses` returns.
    """

    @property
    def losses_made(self) -> tuple[str, ...]: ...  # noqa: D102

    def init(
        self, key: jax.Array, latent: Latent, feat: jax.Array, embed: jax.Array
    ) -> ModuleParams:
        """Return fresh parameters, given a latent `[1, *]`, its `feat` and an `embed`."""
        ...

    def losses(
        self, params: ModuleParams, observed: Observed, batch: Batch
    ) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """Return losses `[B, T]` by name, and quantities `[B, T]` whose means are metrics.

        Args:
            params: The objective's own parameters.
            observed: The filtered batch, with gradient.
            batch: Records `[B, T, ...]`.
        """
        ...

    def decode(self, params: ModuleParams, latent: Latent) -> dict[str, Prediction]:
        """Return predictions of observation keys from latents `[..., *]`; maybe none."""
        ...
