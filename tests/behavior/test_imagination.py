"""The rollout against a plain loop, and the wall between it and every gradient."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import MIXED, D, H, K, S, quick_jit, random_state, tiny_agent

from dreamer_jax.agent import Agent
from dreamer_jax.behavior.imagination import Imagined, imagine
from dreamer_jax.distributions import GREEDY
from dreamer_jax.types import Latent
from dreamer_jax.world_model import encode_action

N = 3


@pytest.fixture(scope="module")
def agent() -> Agent:
    return tiny_agent(MIXED, sampler=GREEDY)


def _start() -> Latent:
    rng = np.random.default_rng(29)
    deter = jnp.asarray(rng.normal(size=(N, D)), jnp.float32)
    return Latent(deter, jax.nn.one_hot(rng.integers(0, K, (N, S)), K))


def _imagine(agent: Agent, params: Any, start: Latent) -> Imagined:
    actor, key = agent.behavior.actor, jax.random.key(0)
    return imagine(agent.world_model, actor, params, start, H, agent.sampler, key)


def test_rollout_equals_a_plain_loop(agent: Agent) -> None:
    params, latent = random_state(agent).params, _start()
    rollout = quick_jit(lambda p, s: _imagine(agent, p, s))(params, latent)
    dynamics, spaces = agent.world_model.dynamics, agent.spaces.action

    @quick_jit
    def act(latent: Latent) -> dict[str, jax.Array]:
        policy = agent.behavior.actor(params["actor"], dynamics.feat(latent))
        return policy.sample(GREEDY, {key: jnp.zeros((N, *s.shape)) for key, s in spaces.items()})

    @quick_jit
    def step(latent: Latent, action: dict[str, jax.Array]) -> Latent:
        encoded, noise = encode_action(action, spaces), jnp.zeros((N, S))
        act = lambda _, action: (action, None)
        return dynamics.imagine(params["dynamics"], latent, act, encoded[None], noise[None])[1]

    assert len(rollout.feat) == len(rollout.action["steer"]) == H
    close = lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5)
    for h in range(H):
        at = lambda tree, h=h: jax.tree.map(lambda x: x[h], tree)
        action = act(latent)
        close(at(rollout.feat), dynamics.feat(latent))
        jax.tree.map(close, at(rollout.action), action)
        latent = step(latent, action)
    close(rollout.last, dynamics.feat(latent))


def test_nothing_differentiates_through_the_rollout(agent: Agent) -> None:
    def total(params: Any, start: Latent) -> jax.Array:
        rollout = _imagine(agent, params, start)
        return rollout.last.sum() + rollout.action["steer"].sum()

    grads = quick_jit(jax.grad(total, argnums=(0, 1)))(random_state(agent).params, _start())
    assert not any(leaf.any() for leaf in jax.tree.leaves(grads))
