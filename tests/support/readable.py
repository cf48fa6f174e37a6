"""An actor-critic whose states' features *are* the answers of its networks.

`feat = (reward, cont, value logits …, action logits …)`, so that every number of a loss can be set
by hand.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dreamer_jax.behavior.actor_critic import ActorCritic, Kept, ReturnScaling
from dreamer_jax.behavior.imagination import Actor, Imagined
from dreamer_jax.distributions import RANDOM
from dreamer_jax.heads.network import NetworkHead
from dreamer_jax.heads.predictions import TwoHot
from dreamer_jax.types import Space

H, N, B, T = 3, 5, 2, 7
BINS = np.array([-4.0, -1.0, 0.0, 1.0, 4.0], np.float32)
ACTIONS = 2
GAMMA, LAMBDA, ETA = 0.9, 0.8, 0.05
SPACES = {"jump": Space(np.dtype("int32"), (), ACTIONS)}
RNG = np.random.default_rng(31)


class ReadCritic(nn.Module):
    """Value logits from the middle columns; a parameter favours the highest bin."""

    @nn.compact
    def __call__(self, feat: jax.Array) -> jax.Array:
        bonus = self.param("bonus", nn.initializers.zeros, ())
        return feat[..., 2 : 2 + len(BINS)].at[..., -1].add(bonus)


class ReadActor(nn.Module):
    """Action logits from the last columns, times a parameter."""

    @nn.compact
    def __call__(self, feat: jax.Array) -> dict[str, jax.Array]:
        return {"jump": feat[..., -ACTIONS:] * self.param("gain", nn.initializers.ones, ())}


class ReadWorld:
    """A world model whose predictions are the first two features."""

    def predict(self, name: str, params: Any, feat: jax.Array) -> jax.Array:
        return feat[..., ("reward", "cont").index(name)] + params["world"]


WORLD: Any = ReadWorld()


def read_behavior(**options: Any) -> ActorCritic:
    """Return the behaviour; `options` override its fields."""
    settings: dict[str, Any] = {
        "world_model": WORLD,
        "actor": Actor(ReadActor(), SPACES, 0.0),
        "critic": NetworkHead(ReadCritic(), partial(TwoHot, bins=BINS)),
        "reward": partial(WORLD.predict, "reward"),
        "sampler": RANDOM,
        "imag_horizon": H,
        "imag_last": 0,
        "gamma": GAMMA,
        "contdisc": True,
        "lambda_": LAMBDA,
        "replay_lambda": LAMBDA,
        "entropy_scale": ETA,
        "slow_regularizer": 0.7,
        "replay_slow_regularizer": 0.3,
        "slow_target": False,
        "slow_rate": 0.25,
        "scaling": ReturnScaling(0.5, 10.0, 90.0, 0.1),
    }
    return ActorCritic(**(settings | options))


PARAMS = {
    "actor": {"gain": jnp.float32(1.0)},
    "critic": {"bonus": jnp.float32(0.0)},
    "world": jnp.float32(0.0),
}
BONUS = 1.5  # by which the slow critic disagrees with the critic
KEPT = Kept({"bonus": jnp.float32(BONUS)}, {"low": jnp.float32(-1.0), "high": jnp.float32(2.0)})


def draw_states(*lead: int) -> jax.Array:
    """Return random features `[*lead, F]` whose continue probabilities are probabilities."""
    parts = [
        RNG.normal(size=(*lead, 1)),
        RNG.uniform(0.3, 1.0, (*lead, 1)),
        RNG.normal(size=(*lead, len(BINS) + ACTIONS)),
    ]
    return jnp.asarray(np.concatenate(parts, -1), jnp.float32)


def draw_rollout() -> Imagined:
    """Return a random rollout of H steps from N starts."""
    feat = draw_states(H + 1, N)
    action = {"jump": jnp.asarray(RNG.integers(0, ACTIONS, (H, N)), jnp.int32)}
    return as_rollout(feat, action)


def as_rollout(feat: jax.Array, action: dict[str, jax.Array]) -> Imagined:
    """Return states `[H + 1, N, F]` and actions `[H, N]` as a rollout."""
    return Imagined(feat[:-1], action, feat[-1])
