"""Axis letters, the two timelines, and what crosses a boundary. Imports no JAX: hosts use it too.

Axis letters, the same in every file and docstring:

    B  batch            D  deter            A  action width (one-hot or continuous, all keys)
    T  replay time      S  stoch groups     E  embed width
    H  imagination time K  classes          F  feature width, D + S·K
    N  imagined starts  U  units            G  blocks of a block layer

Replay timeline. One record per environment step; the action is the one chosen *after* seeing it:

    index       t           t+1
    obs         o[t]        o[t+1]
    action      a[t]        a[t+1]        a[t] is chosen after o[t]; zeros where is_last[t]
    reward      r[t]        r[t+1]        r[t+1] rewards a[t]; 0 at a reset record
    is_first    true at a reset record; is_last at any end; is_terminal only at a true end

Imagined timeline, time-major arrays `[H+1, N, ...]`:

    state       s[0]  s[1] … s[H]         s[0] a replayed posterior
    action      a[0]  a[1] … a[H]         a[h] is chosen in s[h]
    reward            r[1] … r[H]         of arriving at s[1] … s[H]
    cont        c[0]  c[1] … c[H]         the head's probability; contains the discount (contdisc)
    weight      w[0] = c[0], w[1] = c[0]·c[1], …
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

# jax.Array inside the agent's functions, np.ndarray in what a host hands to them.
Array = Any

# Trees of arrays that only their owner looks into. The names say whose they are.
Latent = Any  # [..., *] state of the latent dynamics; every leaf has the leading axes
Noise = Any  # [..., *] numbers drawn outside a scan, for samples taken inside
Memory = Any  # [E, ...] what a behaviour remembers from step to step
Aux = Any  # what a behaviour keeps beside its parameters: slow copies, running statistics
ModuleParams = Any  # parameters of one entry, float32
Params = Mapping[str, ModuleParams]  # by entry
Tree = Any  # any tree of arrays

# Latents as replay stores them: one column per name.
Columns = dict[str, Array]

# The keys of a record that are not observations; the encoder never sees them (docs/algorithm.md 1).
FLAGS = ("is_first", "is_last", "is_terminal")
SIGNALS = ("reward", *FLAGS)

# One environment step on the host: observation keys, SIGNALS, and `log/...` scalars.
Record = dict[str, np.ndarray]


class Space(NamedTuple):
    """What one key of a record or action holds.

    Args:
        dtype: NumPy dtype of the values.
        shape: Shape of one value, without batch or time.
        classes: Number of classes of a discrete key, or None for continuous values and images.
            Continuous actions are understood to lie in [−1, 1].
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    classes: int | None = None

    @property
    def discrete(self) -> bool:
        """Whether values are class indices."""
        return self.classes is not None

    @property
    def is_image(self) -> bool:
        """Whether values are uint8 pictures `[height, width, channels]`."""
        return self.dtype == np.uint8 and len(self.shape) == 3


class Spaces(NamedTuple):
    """Observation and action keys of an environment, without SIGNALS and `log/...`."""

    obs: dict[str, Space]
    action: dict[str, Space]


# The signals of a record. Columns of replay, shared memory and contracts are made of these.
SIGNAL_SPACES = {
    "reward": Space(np.dtype(np.float32), ()),
    **{flag: Space(np.dtype(bool), ()) for flag in FLAGS},
}


class Carry(NamedTuple):
    """What acting and consecutive training batches remember between calls."""

    latent: Latent  # [B, ...]
    action: dict[str, Array]  # [B, ...] action that follows the latent
    memory: Memory = ()  # [B, ...] of the behaviour that acts; training has none


class Batch(NamedTuple):
    """Replayed sequences as the learner reads them."""

    obs: dict[str, Array]  # [B, T, *shape] by key
    action: dict[str, Array]  # [B, T, *shape] by key, chosen after seeing the record
    reward: Array  # [B, T] float32
    is_first: Array  # [B, T] bool
    is_last: Array  # [B, T] bool
    is_terminal: Array  # [B, T] bool


class Replayed(NamedTuple):
    """A batch as replay hands it out: one leading context record, if replay keeps context."""

    records: Batch  # [B, T + context, ...]
    stored: Columns | None  # [B, ...] latent of the context record; None without context
    follows: Array  # [B] bool: continues the previous batch, so start from the carry instead


class Observed(NamedTuple):
    """A batch as the world model sees it."""

    embed: Array  # [B, T, E]
    filtered: Any  # [B, T, ...] what the dynamics made of it; see `dynamics.protocol.Filtered`

    @property
    def latent(self) -> Latent:
        """Posterior latents `[B, T, ...]`."""
        return self.filtered.latent

    @property
    def feat(self) -> Array:
        """Model states `[B, T, F]` that heads read."""
        return self.filtered.feat


class TrainState(NamedTuple):
    """Everything an update changes. Keyed by name, so another module is another entry."""

    params: dict[str, ModuleParams]  # by entry
    aux: dict[str, Aux]  # behaviour -> slow copies and running statistics
    opt: dict[str, Any]  # phase -> optax state over the entries that it trains
    grad_steps: Array  # [] int32 updates done, of all phases
