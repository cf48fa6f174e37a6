"""No random number is drawn twice: keys are split before they are used, and used once."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from tiny import MIXED, B, quick_jit, random_batch, random_obs, random_state, tiny_agent

from dreamer_jax.agent import Agent
from dreamer_jax.device.compiled import ROLES, Compiled

TWO = {"behaviors": {"other": "actor_critic"}}


class Keyed(Agent):
    """An agent whose policy only tells which key it was given."""

    def policy(self, params: Any, carry: Any, obs: Any, is_first: Any, key: Any, mode: str) -> Any:  # noqa: ARG002
        return jax.random.key_data(key)


def told(compiled: Compiled, step: int, role: str) -> tuple[int, ...]:
    """Return the key of a call of the policy."""
    found: Any = compiled.policy({}, (), {}, np.zeros(1, bool), step, role=role)  # type: ignore[arg-type]
    return tuple(np.asarray(found).tolist())


def root(compiled: Compiled, role: str) -> tuple[int, ...]:
    return tuple(np.asarray(jax.random.key_data(compiled.key(role))).tolist())


@pytest.fixture
def keyed() -> Keyed:
    return Keyed(*tiny_agent())


def test_every_call_of_the_policy_has_a_key_of_its_own(keyed):
    compiled = Compiled(keyed, seed=3)
    keys = [told(compiled, step, role) for step in (0, 1, 2) for role in ("policy", "evaluation")]
    assert len({*keys}) == 6
    assert told(compiled, 1, "policy") == keys[2], "the number of the call decides it"
    assert told(Compiled(keyed, seed=4), 1, "policy") not in keys


def test_every_role_has_a_stream_of_its_own(keyed):
    compiled = Compiled(keyed)
    assert len({root(compiled, role) for role in ROLES}) == len(ROLES)


def test_processes_share_the_keys_of_updates_and_not_those_of_acting(keyed, monkeypatch):
    compiled = []
    for process in (0, 1):
        monkeypatch.setattr(jax, "process_count", lambda: 2)
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        compiled.append(Compiled(keyed))
    one, two = ({role: root(each, role) for role in ROLES} for each in compiled)
    assert [role for role in ROLES if one[role] != two[role]] == ["policy"]


def test_a_policy_step_uses_no_key_twice():
    agent = tiny_agent(MIXED)
    params = agent.acting_params(random_state(agent))
    args = agent.initial_acting_carry(B), random_obs(MIXED, B), np.zeros(B, bool)
    with jax.debug_key_reuse(True):
        quick_jit(lambda key: agent.policy(params, *args, key)[1])(jax.random.key(0))


@pytest.mark.parametrize("options", [{}, TWO], ids=["one behaviour", "two behaviours"])
def test_losses_use_no_key_twice(options):
    agent = tiny_agent(MIXED, **options)
    state = jax.eval_shape(agent.init, jax.random.key(0))
    batch = random_batch(MIXED)
    start, records, previous = agent.align(agent.initial_carry(B), batch)

    def losses(key: jax.Array, state: Any) -> Any:
        known = state.params, state.aux, start, records, previous
        return agent.losses(*known, key, updates=state.grad_steps)[0]

    with jax.debug_key_reuse(True):
        quick_jit(losses).lower(jax.random.key(0), state).compile()
