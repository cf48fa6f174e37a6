"""Parts of one's own, as a config names them by their import path: `plugins:make_ended`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from linear import Climb, Linear, Plain, Sum

from dreamer_jax.agent import MAIN
from dreamer_jax.heads.network import NetworkHead
from dreamer_jax.makers import Context, Parts, make_actor_critic, make_twohot
from dreamer_jax.phase import Phase
from dreamer_jax.types import Batch, Latent, Memory, Observed, Params
from dreamer_jax.world_model import Target, WorldModel


def make_ended(context: Context, name: str) -> tuple[NetworkHead, Target]:
    """Return a head that learns which records are the last of their episode."""
    assert name == "ended" and context.agent.options.scale == 3.0
    return NetworkHead(Sum(), Plain), lambda batch: 3.0 * batch.is_last


def make_twohot_ended(context: Context, name: str) -> tuple[NetworkHead, Target]:
    """Return a published kind of head that learns which records are the last of their episode."""
    return make_twohot(context, name), lambda batch: batch.is_last * 1.0


def make_headless(context: Context, name: str) -> NetworkHead:  # noqa: ARG001
    """Return a head and forget the target."""
    return NetworkHead(Sum(), Plain)


def make_climb(context: Context) -> Climb:  # noqa: ARG001
    """Return a loss that goes through the rollout."""
    return Climb()


def make_linear(context: Context) -> Linear:  # noqa: ARG001
    """Return linear dynamics."""
    return Linear()


def make_explorer(context: Context, world_model: WorldModel, behaviors: Mapping[str, Any]) -> Any:
    """Return a second actor-critic, paid for what its model is loud about."""
    assert MAIN in behaviors  # those before it are there to be read

    def bonus(params: Params, feat: jax.Array, action: Any) -> jax.Array:  # noqa: ARG001
        return jnp.abs(feat).mean(-1)

    return replace(make_actor_critic(context, world_model, {}), bonuses=(bonus,))


@dataclass(frozen=True)
class Counter:
    """A behaviour that learns nothing, and acts by how many steps the episode has."""

    modules: tuple[str, ...] = ("first",)
    acting: tuple[str, ...] = ("first",)
    losses_made: tuple[str, ...] = ()

    def init(self, key: jax.Array, feat: jax.Array) -> tuple[dict[str, Any], Any]:  # noqa: ARG002
        return {"first": {"bias": jnp.zeros(())}}, jnp.zeros(())

    def initial_memory(self, batch: int) -> Memory:
        return {"age": jnp.zeros(batch, jnp.int32)}

    def act(
        self,
        params: Params,
        memory: Memory,
        latent: Latent,  # noqa: ARG002
        is_first: jax.Array,
        key: jax.Array,  # noqa: ARG002
        mode: str,
    ) -> tuple[Memory, dict[str, jax.Array]]:
        age = jnp.where(is_first, 0, memory["age"] + 1)
        sign = -1.0 if mode == "eval" else 1.0
        steer = sign * jnp.stack([age, params["first"]["bias"] + age], -1)
        return {"age": age}, {"steer": steer.astype(jnp.float32)}

    def losses(
        self,
        params: Params,  # noqa: ARG002
        aux: Any,
        observed: Observed,  # noqa: ARG002
        batch: Batch,
        key: jax.Array,  # noqa: ARG002
        updates: jax.Array,  # noqa: ARG002
    ) -> tuple[dict[str, jax.Array], Any, dict[str, jax.Array]]:
        return {}, aux + 1, {"seen": batch.reward.sum()}

    def after_update(self, params: Params, aux: Any) -> Any:  # noqa: ARG002
        return aux + 100


def make_counter(context: Any, world_model: Any, behaviors: Any) -> Counter:  # noqa: ARG001
    """Return the behaviour that counts."""
    return Counter()


def make_in_turn(parts: Parts) -> dict[str, Phase]:
    """Return two phases: the world model alone, then the behaviour on a world that stands still."""
    model = parts.world_model
    return {
        "world": Phase(
            modules=model.modules,
            losses=parts.scales(model.losses_made),
            optimizer=parts.make_optimizer(model.modules),
            share=0.5,
        ),
        "policy": Phase(
            modules=parts.entries(MAIN),
            losses=parts.scales(parts.losses(MAIN)),
            optimizer=parts.make_optimizer(parts.entries(MAIN)),
            world_model=False,
            behaviors=(MAIN,),
        ),
    }
