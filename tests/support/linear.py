"""A world without chance that NumPy can follow: linear dynamics, smooth heads, a flat actor.

The smallest implementation of `Dynamics` beside the RSSM. Its latent is a dict, it draws no noise,
and nothing of it is a categorical, so that a gradient through a rollout can be had by differences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dreamer_jax.behavior.actor_critic import ActorCritic, ReturnScaling
from dreamer_jax.behavior.equations import Targets
from dreamer_jax.behavior.imagination import Actor
from dreamer_jax.distributions import ActionDistribution, Sampler
from dreamer_jax.dynamics.protocol import Act
from dreamer_jax.heads.network import NetworkHead
from dreamer_jax.nets.head_nets import ActorNet
from dreamer_jax.ops.spread import Spread
from dreamer_jax.types import Columns, Space, Spaces
from dreamer_jax.world_model import WorldModel

P, A, E, H = 3, 2, 7, 5  # places, actions, embedding, imagined steps
F32, FLOAT = jnp.dtype("float32"), np.dtype("float32")
SPACES = Spaces({"sight": Space(FLOAT, (E,))}, {"steer": Space(FLOAT, (A,))})
STD_RANGE = (0.1, 1.0)


class Filtered(NamedTuple):
    latent: dict[str, jax.Array]  # {"place": [B, T, P]}
    feat: jax.Array  # [B, T, P]


@dataclass(frozen=True)
class Linear:
    """`place ← place·move + action·push + embed·see`; implements `Dynamics`."""

    losses_made: tuple[str, ...] = ("drift",)

    def init(self, key: jax.Array, embed_width: int, action_width: int) -> Any:
        shapes = {"move": (P, P), "push": (action_width, P), "see": (embed_width, P)}
        keys = jax.random.split(key, len(shapes))
        pairs = zip(keys, shapes.items(), strict=True)
        return {name: jax.random.normal(k, shape) for k, (name, shape) in pairs}

    def initial(self, batch: int) -> dict[str, jax.Array]:
        return {"place": jnp.zeros((batch, P))}

    def draw_noise(self, key: jax.Array, shape: tuple[int, ...]) -> tuple[()]:  # noqa: ARG002
        return ()

    def observe(
        self,
        params: Any,
        start: dict[str, jax.Array],
        embed: jax.Array,
        action: jax.Array,
        is_first: jax.Array,
        noise: tuple[()],  # noqa: ARG002
    ) -> Filtered:
        def step(place: jax.Array, now: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
            seen, action, first = now
            place, action = (jnp.where(first[:, None], 0.0, x) for x in (place, action))
            place = place @ params["move"] + action @ params["push"] + seen @ params["see"]
            return place, place

        inputs = jax.tree.map(lambda x: x.swapaxes(0, 1), (embed, action, is_first))
        places = jax.lax.scan(step, start["place"], inputs)[1].swapaxes(0, 1)
        return Filtered({"place": places}, places)

    def imagine(
        self, params: Any, start: dict[str, jax.Array], act: Act, inputs: Any, noise: tuple[()]
    ) -> tuple[dict[str, jax.Array], dict[str, jax.Array], Any]:
        def step(latent: dict[str, jax.Array], now: Any) -> Any:
            action, output = act(latent, now[0])
            place = latent["place"] @ params["move"] + action @ params["push"]
            return {"place": place}, (latent, output)

        last, (latents, outputs) = jax.lax.scan(step, start, (inputs, noise))
        return latents, last, outputs

    def losses(
        self,
        params: Any,  # noqa: ARG002
        filtered: Filtered,
    ) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        return {"drift": jnp.square(filtered.feat).sum(-1)}, {
            "size": jnp.abs(filtered.feat).max(-1)
        }

    def feat(self, latent: dict[str, jax.Array]) -> jax.Array:
        return latent["place"]

    def decoder_inputs(self, latent: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return latent["place"], latent["place"][..., :0]

    def latent_spaces(self) -> Mapping[str, Space]:
        return {"place": Space(FLOAT, (P,))}

    def pack(self, latent: dict[str, jax.Array]) -> Columns:
        return dict(latent)

    def unpack(self, columns: Columns) -> dict[str, jax.Array]:
        return dict(columns)


@dataclass(frozen=True)
class Plain:
    """A number with unit variance."""

    raw: jax.Array  # [...]

    def loss(self, target: jax.Array) -> jax.Array:
        return jnp.square(self.raw - target)

    def mean(self) -> jax.Array:
        return self.raw


@dataclass(frozen=True)
class Chance:
    """A probability by its logit."""

    logit: jax.Array  # [...]

    def loss(self, target: jax.Array) -> jax.Array:
        return jax.nn.softplus(self.logit) - target * self.logit

    def mean(self) -> jax.Array:
        return jax.nn.sigmoid(self.logit)


class Sum(nn.Module):
    """`x·weight + offset`, and its sine on top if it is to be curved."""

    curved: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        weight = self.param("weight", nn.initializers.normal(), (x.shape[-1],))
        total = x @ weight + self.param("offset", nn.initializers.ones, ())
        return total + jnp.sin(total) if self.curved else total


class Flat(nn.Module):
    """An encoder that only scales."""

    @nn.compact
    def __call__(self, obs: Mapping[str, jax.Array]) -> jax.Array:
        return obs["sight"] * self.param("gain", nn.initializers.ones, ())


@dataclass(frozen=True)
class Climb:
    """The pathwise gradient of the returns themselves; implements `ActorLoss`."""

    attached: bool = True

    def __call__(self, policy: ActionDistribution, targets: Targets) -> jax.Array:  # noqa: ARG002
        return -targets.scaled_returns


def same_normals(_: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Return numbers that depend on the shape alone."""
    return jnp.asarray(np.random.default_rng(61).normal(size=shape), jnp.float32)


FIXED = Sampler(
    uniform=lambda _, shape: jnp.full(shape, 0.5),
    normal=same_normals,
    choose=lambda probs, _: jnp.argmax(probs, -1).astype(jnp.int32),
    move=lambda mean, std, noise: mean + std * noise,
)


def linear_world() -> WorldModel:
    """Return a world model with curved rewards and continue probabilities that depend on places."""
    heads: dict[str, Any] = {
        "reward": (NetworkHead(Sum(curved=True), Plain), lambda batch: batch.reward),
        "cont": (NetworkHead(Sum(), Chance), lambda batch: 1.0 - batch.is_terminal),
    }
    return WorldModel(SPACES, Flat(), Linear(), objectives={}, heads=heads)


def linear_behavior(world_model: WorldModel, **options: Any) -> ActorCritic:
    """Return actor and critic in it; the return scale is always 3."""
    net = ActorNet(SPACES.action, 0, 1, 1.0, STD_RANGE, F32)
    settings: dict[str, Any] = {
        "world_model": world_model,
        "actor": Actor(net, SPACES.action, 0.0),
        "critic": NetworkHead(Sum(curved=True), Plain),
        "reward": lambda params, feat: world_model.predict("reward", params, feat),
        "sampler": FIXED,
        "imag_horizon": H,
        "imag_last": 0,
        "gamma": 0.9,
        "contdisc": True,
        "lambda_": 0.8,
        "replay_lambda": 0.8,
        "entropy_scale": 0.05,
        "slow_regularizer": 0.7,
        "replay_slow_regularizer": 0.3,
        "slow_target": False,
        "slow_rate": 0.25,
        "scaling": ReturnScaling(0.0, 10.0, 90.0, 3.0),
        "spread": Spread(),
        "actor_loss": Climb(),
    }
    return ActorCritic(**(settings | options))
