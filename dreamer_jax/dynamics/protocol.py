"""What the world model and imagination ask of latent dynamics. Pure in `params`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import jax

from dreamer_jax.types import Latent

Params = Any
# (latent [N, ...], one step of the inputs) -> (encoded action [N, A], anything to collect)
Act = Callable[[Latent, Any], tuple[jax.Array, Any]]


class Dynamics(Protocol):
    """A latent state that can be filtered with observations and rolled out without them.

    Actions arrive encoded as one vector `[..., A]`, the action that *led to* the step.
    """

    def init(self, key: jax.Array, embed_width: int, action_width: int) -> Params:
        """Return fresh parameters."""
        ...

    def initial(self, batch: int) -> Latent:
        """Return the latent `[batch, ...]` before anything has been seen."""
        ...

    def observe_noise(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Draw the noise of `shape` posterior samples."""
        ...

    def observe(
        self,
        params: Params,
        start: Latent,
        embed: jax.Array,
        action: jax.Array,
        is_first: jax.Array,
        noise: jax.Array,
    ) -> tuple[Latent, jax.Array]:
        """Filter a sequence `[B, T, ...]`; return posterior latents and their logits."""
        ...

    def imagine(
        self, params: Params, start: Latent, act: Act, inputs: Any, noise: jax.Array
    ) -> tuple[Latent, Latent, Any]:
        """Roll out under `act`; return latents `[H, N, ...]`, the one after them, and outputs."""
        ...

    def prior_logits(self, params: Params, deter: jax.Array) -> jax.Array:
        """Return the logits `[..., S, K]` of the latent predicted from the past alone."""
        ...

    def kl_losses(
        self, post_logits: jax.Array, prior_logits: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Return the `dyn` and `rep` losses of each step, free nats applied."""
        ...

    def entropy(self, logits: jax.Array) -> jax.Array:
        """Return the entropy in nats of the latent with logits `[..., S, K]`."""
        ...

    def feat(self, latent: Latent) -> jax.Array:
        """Return the model state `concat(deter, stoch)` `[..., F]` that heads read."""
        ...

    def pack(self, latent: Latent) -> Latent:
        """Return the latent as replay stores it: `stoch` as uint8 class indices `[..., S]`."""
        ...

    def unpack(self, latent: Latent) -> Latent:
        """Return a stored latent as state; indices become one-hot, one-hot stays as it is."""
        ...
