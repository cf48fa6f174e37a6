"""Which record meets which action and which latent, with a batch that counts its own steps."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import (
    FLOAT,
    INT,
    B,
    D,
    S,
    T,
    random_state,
    tiny_agent,
)

from dreamer_jax.agent import Agent
from dreamer_jax.types import Batch, Carry, Replayed, Space, Spaces
from dreamer_jax.world_model import WorldModel, encode_action

COUNT = Spaces({"step": Space(FLOAT, ())}, {"choice": Space(INT, (), 50)})


def _counting(context: int) -> Replayed:
    """Return a batch whose record t has observation t and action t; row 1 is 20 ahead."""
    steps = np.arange(T + context) + np.array([[0], [20]])
    flags = np.zeros((B, T + context), bool)
    records = Batch(
        {"step": steps.astype(np.float32)},
        {"choice": steps.astype(np.int32)},
        steps.astype(np.float32),
        *(flags.copy() for _ in range(3)),
    )
    stored = {"deter": np.full((B, D), 7, np.float32), "stoch": np.full((B, S), 1, np.uint8)}
    follows = np.array([False, True])
    return jax.tree.map(jnp.asarray, Replayed(records, stored if context else None, follows))


def _carry(agent: Agent) -> Carry:
    """Return a carry that cannot be mistaken for the stored latent."""
    latent = jax.tree.map(lambda x: x - 5, agent.initial_carry(B).latent)
    return Carry(latent, {"choice": jnp.array([41, 42], jnp.int32)})


@pytest.mark.parametrize("context", [1, 0])
def test_every_observation_meets_the_action_that_led_to_it(
    context: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step off, losses still fall to zero, because neighbouring records are alike."""
    agent = tiny_agent(COUNT, context=context)
    met: list[Any] = []

    class Enough(Exception):
        pass

    def spy(self: WorldModel, *args: Any) -> None:
        _, start, obs, previous, *_ = args
        met.append((start, obs["step"], encode_action(previous, self.spaces.action)))
        raise Enough

    monkeypatch.setattr(WorldModel, "observe", spy)
    with pytest.raises(Enough):
        state, key = random_state(agent), jax.random.key(0)
        agent.train("joint", state, _carry(agent), _counting(context), key)
    start, steps, action = met[0]
    offset = np.array([[0], [20]])
    np.testing.assert_array_equal(steps, np.arange(context, T + context) + offset)
    led = np.argmax(action, -1)
    np.testing.assert_array_equal(led[:, 1:], steps[:, 1:] - 1)
    if context:
        # The context record is not trained on; its action and latent come first.
        np.testing.assert_array_equal(led[:, 0], [0, 20])
        np.testing.assert_array_equal(start.deter, np.array([[7], [-5]]).repeat(D, 1))
        np.testing.assert_array_equal(np.argmax(start.stoch[0], -1), np.ones(S))
    else:
        np.testing.assert_array_equal(led[:, 0], [41, 42])
        np.testing.assert_array_equal(start.deter, np.full((B, D), -5))


def test_rewards_and_flags_stay_with_their_observations() -> None:
    agent, replayed = tiny_agent(COUNT), _counting(1)
    _, batch, _ = agent.align(_carry(agent), replayed)
    assert batch.reward.shape == batch.is_first.shape == (B, T)
    np.testing.assert_array_equal(batch.reward, batch.obs["step"])


@pytest.mark.parametrize("context", [0, 1])
def test_a_batch_must_have_the_context_that_the_agent_expects(context: int) -> None:
    agent = tiny_agent(COUNT, context=context)
    with pytest.raises(ValueError, match=f"replay_context={context}, but the batch brings"):
        agent.align(_carry(agent), _counting(1 - context))
