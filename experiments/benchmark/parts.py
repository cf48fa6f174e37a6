"""The parts of a train step by themselves, each compiled alone: where the time goes.

Their sum differs from the whole step, which shares work between them and overlaps nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from dreamer_jax.agent import MAIN
from dreamer_jax.behavior.actor_critic import ActorCritic
from dreamer_jax.behavior.imagination import imagine
from dreamer_jax.types import TrainState
from experiments.benchmark.workload import PHASE, build, random_batch, timings


def bench_parts(args: argparse.Namespace) -> dict[str, Any]:
    """Time observing, the world model with gradients, the rollout, heads, and the optimiser."""
    compiled = build(args)
    agent, state = compiled.agent, compiled.init()
    world_model, behavior, key = agent.world_model, agent.behaviors[MAIN], jax.random.key(0)
    assert isinstance(behavior, ActorCritic)
    replayed = random_batch(compiled, args.batch, args.length)
    start, batch, previous = agent.align(compiled.initial_carry(args.batch), replayed)

    def observe(params: Any) -> Any:
        return world_model.observe(params, start, batch.obs, previous, batch.is_first, key)

    def model_loss(params: Any) -> jax.Array:
        losses, _ = world_model.losses(params, observe(params), batch)
        return sum((loss.mean() for loss in losses.values()), start=jnp.zeros(()))

    starts = world_model.dynamics.initial(args.batch * args.length)

    def rollout(params: Any) -> Any:
        horizon, sampler = behavior.imag_horizon, behavior.sampler
        return imagine(world_model, behavior.actor, params, starts, horizon, sampler, key)

    imagined = jax.jit(rollout)(state.params)

    def head_losses(params: Any, state: TrainState) -> jax.Array:
        losses, *_ = behavior.imagined_losses(params, state.aux[MAIN], imagined)
        return losses["actor"].mean() + losses["critic"].mean()

    def optimize(state: TrainState) -> Any:
        return agent.phases[PHASE].optimizer.update(state.params, state.opt[PHASE], state.params)

    parts: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "observe": (observe, (state.params,)),
        "world_model_with_gradients": (jax.grad(model_loss), (state.params,)),
        "rollout": (rollout, (state.params,)),
        "imagined_heads_with_gradients": (jax.grad(head_losses), (state.params, state)),
        "optimizer": (optimize, (state,)),
    }
    result: dict[str, Any] = {}
    for name, (function, inputs) in parts.items():
        times = timings(partial(jax.jit(function), *inputs), args.steps)
        result[f"{name}_ms"] = times["ms_median"]
    return result
