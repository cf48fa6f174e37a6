"""What the agent asks of a behaviour: something that chooses actions, and may learn to.

Several behaviours may live side by side, and one of them acts. Each owns its parameters, and what
it keeps beside them (`aux`: slow copies, running statistics). It names its own entries, losses and
metrics as if it were alone: the agent puts the behaviour's name before them, except for `main`.
Entries of the world model and of other behaviours are read by the names that they have there.
"""

from __future__ import annotations

from typing import Protocol

import jax

from dreamer_jax.types import Aux, Batch, Latent, Memory, ModuleParams, Observed, Params

Actions = dict[str, jax.Array]  # [E, *shape] by key


class Behavior(Protocol):
    """Chooses actions, and may learn from imagination or replay. Pure in `params` and `aux`.

    Attributes:
        modules: Entries of `params` that the behaviour owns.
        acting: Entries of `params` that `act` reads, beside `encoder` and `dynamics`.
        losses_made: Names of the losses that `losses` returns.
    """

    @property
    def modules(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def acting(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def losses_made(self) -> tuple[str, ...]: ...  # noqa: D102

    def init(self, key: jax.Array, feat: jax.Array) -> tuple[dict[str, ModuleParams], Aux]:
        """Return fresh parameters by entry for states like `feat [1, F]`, and the first `aux`."""
        ...

    def initial_memory(self, batch: int) -> Memory:
        """Return the memory `[batch, ...]` before the first step."""
        ...

    def act(
        self,
        params: Params,
        memory: Memory,
        latent: Latent,
        is_first: jax.Array,
        key: jax.Array,
        mode: str,
    ) -> tuple[Memory, Actions]:
        """Choose one action per environment.

        Args:
            params: The entries of `acting`, and `dynamics`.
            memory: `[E, ...]` from the call before.
            latent: `[E, *]` posterior latents.
            is_first: `[E]` bool; memory of such an environment belongs to another episode.
            key: Consumed.
            mode: `train` explores, `eval` is the best that the behaviour can do. Static.
        """
        ...

    def losses(
        self,
        params: Params,
        aux: Aux,
        observed: Observed,
        batch: Batch,
        key: jax.Array,
        updates: jax.Array,
    ) -> tuple[dict[str, jax.Array], Aux, dict[str, jax.Array]]:
        """Return losses (any shape, their mean counts), moved statistics, and scalar metrics.

        Args:
            params: All entries.
            aux: As the update before left it.
            observed: The filtered batch `[B, T, ...]`, with gradient.
            batch: The records that were filtered.
            key: Consumed.
            updates: `[]` int32 updates that were done before this one, for schedules.
        """
        ...

    def after_update(self, params: Params, aux: Aux) -> Aux:
        """Return `aux` after the parameters moved, for instance slow copies that follow them."""
        ...


class Reward(Protocol):
    """What a behaviour is paid for arriving at an imagined state."""

    def __call__(self, params: Params, feat: jax.Array) -> jax.Array:
        """Return rewards `[...]` of arriving in states `[..., F]`."""
        ...


class Bonus(Protocol):
    """What a behaviour is paid, on top, for an imagined step; credited where the step arrives."""

    def __call__(self, params: Params, feat: jax.Array, action: dict[str, jax.Array]) -> jax.Array:
        """Return rewards `[n]` of taking actions `[n, *shape]` in states `[n, F]`."""
        ...
