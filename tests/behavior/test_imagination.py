"""The rollout against a plain loop, and where its gradients go."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import MIXED, D, H, K, S, quick_jit, random_state, tiny_agent

from dreamer_jax.agent import MAIN, Agent
from dreamer_jax.behavior.imagination import Actor, Imagined, imagine
from dreamer_jax.distributions import GREEDY
from dreamer_jax.dynamics.rssm import Latent
from dreamer_jax.world_model import encode_action

N = 3


@pytest.fixture(scope="module")
def agent() -> Agent:
    return tiny_agent(MIXED, sampler=GREEDY)


def _start() -> Latent:
    rng = np.random.default_rng(29)
    deter = jnp.asarray(rng.normal(size=(N, D)), jnp.float32)
    return Latent(deter, jax.nn.one_hot(rng.integers(0, K, (N, S)), K))


def _actor(agent: Agent) -> Actor:
    behavior: Any = agent.behaviors[MAIN]
    return behavior.actor


def _imagine(agent: Agent, params: Any, start: Latent) -> Imagined:
    return imagine(agent.world_model, _actor(agent), params, start, H, GREEDY, jax.random.key(0))


def test_rollout_equals_a_plain_loop(agent: Agent) -> None:
    params, latent = random_state(agent).params, _start()
    rollout = quick_jit(lambda p, s: _imagine(agent, p, s))(params, latent)
    dynamics, spaces = agent.world_model.dynamics, agent.spaces.action

    @quick_jit
    def act(latent: Latent) -> dict[str, jax.Array]:
        policy = _actor(agent)(params["actor"], dynamics.feat(latent))
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


def test_the_rollout_stops_only_what_its_caller_stopped(agent: Agent) -> None:
    """Which gradients pass is the behaviour's choice: the published one lets none."""

    def total(params: Any, start: Latent, stopped: bool) -> jax.Array:
        params, start = jax.lax.stop_gradient((params, start)) if stopped else (params, start)
        rollout = _imagine(agent, params, start)
        return (rollout.last**2).sum() + (rollout.action["steer"] ** 2).sum()

    params, start = random_state(agent).params, _start()
    grad = quick_jit(jax.grad(total, argnums=(0, 1)), static_argnums=2)
    (by_params, by_start), stopped = (grad(params, start, stop) for stop in (False, True))
    for tree in (by_params["actor"], by_params["dynamics"], by_start):
        assert any(leaf.any() for leaf in jax.tree.leaves(tree))
    assert not any(leaf.any() for leaf in jax.tree.leaves(stopped))


def test_other_entries_are_not_read(agent: Agent) -> None:
    """So that a caller may stop the gradients of these two, and forget the rest."""
    params, start = random_state(agent).params, _start()
    few = {name: params[name] for name in ("dynamics", "actor")}
    one, two = (quick_jit(lambda p, s: _imagine(agent, p, s))(p, start) for p in (params, few))
    jax.tree.map(np.testing.assert_array_equal, one, two)
