"""What raw network outputs mean: their losses and expected values (docs/algorithm.md 3, 5, 6).

Each class wraps raw outputs and is a `Prediction`. Losses are summed over the axes of the target,
so a picture weighs as many nats as its pixels disagree.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_jax.heads.protocol import Prediction
from dreamer_jax.ops.symlog import symexp, symlog
from dreamer_jax.ops.twohot import twohot_loss, twohot_mean
from dreamer_jax.types import Space


@dataclass(frozen=True)
class TwoHot:
    """A number as a categorical over symexp-spaced bins."""

    logits: jax.Array  # [..., bins]
    bins: np.ndarray

    def loss(self, target: jax.Array) -> jax.Array:
        """Return the cross-entropy in nats; the target `[...]` gets no gradient."""
        return twohot_loss(self.logits, target, self.bins)

    def mean(self) -> jax.Array:
        """Return the expected bin `[...]`."""
        return twohot_mean(self.logits, self.bins)


@dataclass(frozen=True)
class Bernoulli:
    """A probability by its logit."""

    raw: jax.Array  # [..., 1]

    def loss(self, target: jax.Array) -> jax.Array:
        """Return the cross-entropy in nats against a target `[...]` in 0 … 1."""
        logit = self.raw[..., 0]
        positive, negative = jax.nn.log_sigmoid(logit), jax.nn.log_sigmoid(-logit)
        return -(target * positive + (1.0 - target) * negative)

    def mean(self) -> jax.Array:
        """Return the probability `[...]`."""
        return jax.nn.sigmoid(self.raw[..., 0])


@dataclass(frozen=True)
class Classes:
    """A discrete key: one categorical for each of its values."""

    logits: jax.Array  # [..., *shape, K]
    space: Space

    def loss(self, target: jax.Array) -> jax.Array:
        """Return the cross-entropy in nats; missing classes (negative) cost nothing."""
        axes = _own_axes(target, self.space)
        log_probs = jax.nn.log_softmax(self.logits, -1)
        onehot = jax.nn.one_hot(target.astype(jnp.int32), self.space.classes or 0)
        return -(onehot * log_probs).sum((*axes, self.logits.ndim - 1))

    def mean(self) -> jax.Array:
        """Return the most likely classes `[..., *shape]` int32."""
        return jnp.argmax(self.logits, -1).astype(jnp.int32)


@dataclass(frozen=True)
class SymlogSquares:
    """A continuous key: its mean in symlog space, with unit variance."""

    raw: jax.Array  # [..., *shape]
    space: Space

    def loss(self, target: jax.Array) -> jax.Array:
        """Return the squared error in symlog space; missing values (−inf) cost nothing."""
        axes, target = _own_axes(target, self.space), target.astype(jnp.float32)
        missing = jnp.isneginf(target)
        error = self.raw - symlog(jnp.where(missing, 0.0, target))
        return jnp.where(missing, 0.0, jnp.square(error)).sum(axes)

    def mean(self) -> jax.Array:
        """Return plain values `[..., *shape]`."""
        return symexp(self.raw)


@dataclass(frozen=True)
class Pixels:
    """A picture: the mean of every pixel in 0 … 1, with unit variance."""

    raw: jax.Array  # [..., h, w, c] in 0 … 1
    space: Space

    def loss(self, target: jax.Array) -> jax.Array:
        """Return the squared error against bytes `[..., h, w, c]` scaled to 0 … 1."""
        axes, target = _own_axes(target, self.space), target.astype(jnp.float32)
        return jnp.square(self.raw - target / 255).sum(axes)

    def mean(self) -> jax.Array:
        """Return the picture in 0 … 1."""
        return self.raw


def predict_key(raw: jax.Array, space: Space) -> Prediction:
    """Return what a decoder's raw output says of an observation key, by the kind of the key."""
    if space.discrete:
        return Classes(raw, space)
    return Pixels(raw, space) if space.is_image else SymlogSquares(raw, space)


def _own_axes(target: jax.Array, space: Space) -> tuple[int, ...]:
    return tuple(range(target.ndim - len(space.shape), target.ndim))
