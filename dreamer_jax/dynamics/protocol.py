"""What the world model and behaviours ask of latent dynamics. Pure in `params`.

A latent is the dynamics' own tree of arrays: nobody else looks into it. What others need of it has
a name here: `feat` for heads, `decoder_inputs` for the decoder, `pack` for replay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax

from dreamer_jax.types import Columns, Latent, Noise, Space

# (latent [N, ...], one step of the inputs) -> (encoded action [N, A], anything to collect)
Act = Callable[[Latent, Any], tuple[jax.Array, Any]]


class Filtered(Protocol):
    """What filtering yields: a tree whose leaves are all `[B, T, ...]`, a NamedTuple for instance.

    Beside these two members it holds what `Dynamics.losses` needs.
    """

    @property
    def latent(self) -> Latent:
        """Posterior latents."""
        ...

    @property
    def feat(self) -> jax.Array:
        """Model states `[B, T, F]`."""
        ...


class Dynamics(Protocol):
    """A latent state that can be filtered with observations and rolled out without them.

    Actions arrive encoded as one vector `[..., A]`, the action that *led to* the step.

    Attributes:
        losses_made: Names of the losses that `losses` returns.
    """

    @property
    def losses_made(self) -> tuple[str, ...]: ...  # noqa: D102

    def init(self, key: jax.Array, embed_width: int, action_width: int) -> Any:
        """Return fresh parameters."""
        ...

    def initial(self, batch: int) -> Latent:
        """Return the latent `[batch, ...]` before anything has been seen."""
        ...

    def draw_noise(self, key: jax.Array, shape: tuple[int, ...]) -> Noise:
        """Draw the noise `[*shape, ...]` of as many latents, filtered or imagined."""
        ...

    def observe(
        self,
        params: Any,
        start: Latent,
        embed: jax.Array,
        action: jax.Array,
        is_first: jax.Array,
        noise: Noise,
    ) -> Filtered:
        """Filter a sequence `[B, T, ...]`; what came before an `is_first` has no influence."""
        ...

    def imagine(
        self, params: Any, start: Latent, act: Act, inputs: Any, noise: Noise
    ) -> tuple[Latent, Latent, Any]:
        """Roll out under `act`; return latents `[H, N, ...]`, the one after them, and outputs.

        Args:
            params: Parameters.
            start: `[N, ...]`.
            act: From a latent and one step of `inputs` to the encoded action `[N, A]` that is
                taken there, and an output to collect.
            inputs: Tree of `[H, ...]`.
            noise: `[H, N, ...]` from `draw_noise`.
        """
        ...

    def losses(
        self, params: Any, filtered: Any
    ) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """Return losses `[B, T]` by name, and quantities `[B, T]` whose means are metrics.

        Args:
            params: Parameters.
            filtered: What `observe` of these dynamics returned, of their own type.
        """
        ...

    def feat(self, latent: Latent) -> jax.Array:
        """Return the model state `[..., F]` that heads read."""
        ...

    def decoder_inputs(self, latent: Latent) -> tuple[jax.Array, jax.Array]:
        """Return the recurrent `[..., D]` and the stochastic part `[..., Z]` of the state."""
        ...

    def latent_spaces(self) -> Mapping[str, Space]:
        """Return the columns in which replay stores latents."""
        ...

    def pack(self, latent: Latent) -> Columns:
        """Return latents `[..., *]` as columns `[..., *shape]` of `latent_spaces`."""
        ...

    def unpack(self, columns: Columns) -> Latent:
        """Return the latents that `pack` made columns of."""
        ...
