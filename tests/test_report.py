"""The open-loop report: what it observes, what it must foresee, what it is not judged by."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import MIXED, PICTURES, B, T, quick_jit, random_batch, random_state, tiny_agent

from dreamer_jax.agent import Agent
from dreamer_jax.dynamics.rssm import Latent
from dreamer_jax.report import OpenLoop, imagine_open_loop, report
from dreamer_jax.types import Replayed, Spaces
from dreamer_jax.world_model import encode_action

HALF = T // 2


def _report(agent: Agent, replayed: Replayed) -> OpenLoop:
    carry = agent.initial_carry(B)
    state = random_state(agent)
    # Loud enough that a change of an observation changes the sampled latent.
    loud = lambda tree: jax.tree.map(lambda x: 5 * x, tree)
    state.params.update({name: loud(state.params[name]) for name in ("encoder", "dynamics")})
    run = quick_jit(lambda s, r: report(agent, s, carry, r, jax.random.key(0), rows=B))
    return run(state, replayed)


def _change(replayed: Replayed, key: str, at: int) -> Replayed:
    """Change an observation at step `at` of the T that are trained on."""
    obs = dict(replayed.records.obs)
    value = jnp.asarray(obs[key])
    other = 255 - value if value.dtype == jnp.uint8 else value + 3
    obs[key] = value.at[:, at + 1].set(other[:, at + 1])
    return replayed._replace(records=replayed.records._replace(obs=obs))


def _no_resets(replayed: Replayed) -> Replayed:
    never = jnp.zeros_like(replayed.records.is_first)
    return replayed._replace(records=replayed.records._replace(is_first=never))


@pytest.mark.parametrize("spaces", [MIXED, PICTURES], ids=["mixed", "pictures"])
def test_every_key_has_a_loss_and_every_picture_a_prediction(spaces: Spaces) -> None:
    agent = tiny_agent(spaces)
    result = _report(agent, random_batch(agent.spaces))
    assert {k for k in result.metrics if k.startswith("open_loop/")} == {
        f"open_loop/{key}" for key in spaces.obs
    }
    assert "loss/dyn" in result.metrics
    assert all(np.isfinite(value) for value in result.metrics.values())
    pictures = {k: s.shape for k, s in spaces.obs.items() if s.is_image}
    assert {k: v.shape for k, v in result.images.items()} == {
        k: (B, T, *shape) for k, shape in pictures.items()
    }


def test_predictions_see_the_first_half_and_nothing_of_the_second() -> None:
    agent = tiny_agent(PICTURES)
    replayed = _no_resets(random_batch(agent.spaces))
    usual = _report(agent, replayed).images["camera"]
    early = _report(agent, _change(replayed, "speed", HALF - 1)).images["camera"]
    late = _report(agent, _change(replayed, "speed", HALF)).images["camera"]
    assert (early[:, HALF:] != usual[:, HALF:]).any()
    np.testing.assert_array_equal(late, usual)


def test_steps_after_a_reset_are_not_judged() -> None:
    agent = tiny_agent(MIXED)
    replayed = _no_resets(random_batch(agent.spaces))
    resets = replayed.records.is_first.at[:, HALF + 1 + 1].set(True)
    cut = replayed._replace(records=replayed.records._replace(is_first=resets))
    loss = lambda r: _report(agent, r).metrics["open_loop/matrix"]
    for at, judged in ((HALF, True), (HALF + 1, False)):
        assert (loss(_change(cut, "matrix", at)) != loss(cut)) == judged
        assert loss(_change(replayed, "matrix", at)) != loss(replayed)


def test_actions_lead_to_the_latent_of_their_index() -> None:
    agent = tiny_agent(MIXED)
    params: Any = random_state(agent).params
    start = Latent(*(x + 0.1 for x in agent.initial_carry(B).latent))
    action = {k: jnp.zeros((B, 3, *s.shape), s.dtype) for k, s in MIXED.action.items()}
    moved = action | {"steer": action["steer"].at[:, 1].set(0.7)}
    run = quick_jit(
        lambda a: (
            imagine_open_loop(
                agent, params, start, encode_action(a, MIXED.action), jax.random.key(0)
            ).deter
        )
    )
    one, two = run(action), run(moved)
    assert one.shape[:2] == (B, 3)
    np.testing.assert_array_equal(one[:, 0], two[:, 0])
    assert (one[:, 1] != two[:, 1]).any()
