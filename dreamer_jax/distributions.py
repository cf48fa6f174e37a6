"""Distributions of actions and how anything is sampled; the one home of Distrax.

A `Sampler` splits a draw in two: the noise, which depends on nothing and is drawn in one piece
outside a scan, and the transformation, which is cheap and runs inside. Injecting another sampler
(greedy acting, the deterministic one of the parity cases) changes no other code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp

from dreamer_jax.ops.categorical import mixed_log_probs
from dreamer_jax.types import Space


class Sampler(NamedTuple):
    """How categoricals and normals are drawn."""

    uniform: Callable[[jax.Array, tuple[int, ...]], jax.Array]  # (key, shape) -> noise
    normal: Callable[[jax.Array, tuple[int, ...]], jax.Array]  # (key, shape) -> noise
    choose: Callable[[jax.Array, jax.Array], jax.Array]  # (probs [..., K], noise [...]) -> index
    move: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]  # (mean, std, noise) -> value


def choose_by_inversion(probs: jax.Array, noise: jax.Array) -> jax.Array:
    """Draw a class by inverting the cumulative distribution.

        index = Σ_k [ Σ_{j ≤ k} p_j ≤ u ]

    One uniform number per categorical instead of the K of the Gumbel trick.

    Args:
        probs: `[..., K]` probabilities.
        noise: `[...]` uniform in [0, 1).

    Returns:
        `[...]` int32 in 0 … K−1.
    """
    classes = probs.shape[-1]
    upto = jnp.triu(jnp.ones((classes, classes - 1), probs.dtype))  # K × (K−1): a cumulative sum
    cumulative = jnp.matmul(probs, upto, precision=jax.lax.Precision.HIGHEST)
    return (cumulative <= noise[..., None]).sum(-1, dtype=jnp.int32)


RANDOM = Sampler(
    uniform=lambda key, shape: jax.random.uniform(key, shape),
    normal=lambda key, shape: jax.random.normal(key, shape),
    choose=choose_by_inversion,
    move=lambda mean, std, noise: mean + std * noise,
)

GREEDY = Sampler(
    uniform=lambda _, shape: jnp.zeros(shape),
    normal=lambda _, shape: jnp.zeros(shape),
    choose=lambda probs, _: jnp.argmax(probs, -1).astype(jnp.int32),
    move=lambda mean, _std, _noise: mean,
)


class ActionDistribution:
    """Joint distribution of all action keys; keys are independent given the state.

    Args:
        outputs: Per discrete key logits `[..., *shape, classes]`, per continuous key a pair
            (mean, std), each `[..., *shape]`; float32.
        spaces: Action spaces by key.
        unimix: Uniform share mixed into discrete distributions.
    """

    def __init__(
        self, outputs: Mapping[str, Any], spaces: Mapping[str, Space], unimix: float
    ) -> None:
        self._spaces = spaces
        self._dists: dict[str, distrax.Distribution] = {}
        for key, space in spaces.items():
            if space.discrete:
                logits = mixed_log_probs(outputs[key], unimix)
                dist: distrax.Distribution = distrax.Categorical(logits=logits)
            else:
                mean, std = outputs[key]
                dist = distrax.Normal(mean, std)
            self._dists[key] = distrax.Independent(dist, len(space.shape))

    def sample(self, sampler: Sampler, noise: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Return one action per key: int32 classes or float32 values, not clipped."""
        result = {}
        for key, space in self._spaces.items():
            dist = self._dists[key].distribution
            if space.discrete:
                result[key] = sampler.choose(dist.probs, noise[key])
            else:
                result[key] = sampler.move(dist.loc, dist.scale, noise[key])
        return result

    def log_prob(self, key: str, action: jax.Array) -> jax.Array:
        """Return the log-probability `[...]` of one key's action, summed over its axes."""
        return self._dists[key].log_prob(action)

    def entropy(self, key: str) -> jax.Array:
        """Return the entropy `[...]` of one key in nats, summed over its axes."""
        return self._dists[key].entropy()

    def total_log_prob(self, action: Mapping[str, jax.Array]) -> jax.Array:
        """Return the log-probability `[...]` of a whole action, summed over keys."""
        return sum((self.log_prob(k, action[k]) for k in self._dists), start=jnp.zeros(()))

    def total_entropy(self) -> jax.Array:
        """Return the entropy `[...]` of the whole action in nats, summed over keys."""
        return sum((self.entropy(k) for k in self._dists), start=jnp.zeros(()))


def action_noise(
    sampler: Sampler, key: jax.Array, spaces: Mapping[str, Space], batch: tuple[int, ...]
) -> dict[str, jax.Array]:
    """Draw the noise `[*batch, *shape]` of one action per key."""
    keys = jax.random.split(key, len(spaces))
    return {
        name: (sampler.uniform if space.discrete else sampler.normal)(k, (*batch, *space.shape))
        for k, (name, space) in zip(keys, sorted(spaces.items()), strict=True)
    }
