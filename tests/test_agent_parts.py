"""Agents of other parts (`support/plugins.py`): more behaviours, more phases, other dynamics."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear import P
from plugins import Counter
from tiny import VECTOR, B, T, quick_jit, random_batch, random_obs, random_tree, tiny_agent

from dreamer_jax.agent import MAIN, Agent
from dreamer_jax.behavior.actor_critic import Kept
from dreamer_jax.config import load_config
from dreamer_jax.device.compiled import Compiled
from dreamer_jax.report import report
from dreamer_jax.types import Replayed, TrainState

pytestmark = pytest.mark.usefixtures("cheap_compile")

SHALLOW = {key: 1 for key in load_config("default").agent if key.endswith("_layers")}
QUICK: dict[str, Any] = {"warmup": 0, "learning_rate": 0.01, "slow_rate": 0.25}
EXPLORE = {"behaviors": {"explore": "plugins:make_explorer"}}
COUNT = {"behaviors": {"count": "plugins:make_counter"}}


def _agent(**options: Any) -> Agent:
    """Return an agent with linear dynamics and no decoder, whose programs compile fast."""
    return tiny_agent(
        dynamics="plugins:make_linear",
        objectives={"decoder": ""},
        loss_scales={"drift": 0.5},
        **SHALLOW,
        **options,
    )


def _placed(agent: Agent) -> Replayed:
    stored = {"place": jnp.asarray(np.random.default_rng(71).normal(size=(B, P)), jnp.float32)}
    assert {k: (v.shape[1:], v.dtype) for k, v in stored.items()} == {
        k: (s.shape, s.dtype) for k, s in agent.world_model.dynamics.latent_spaces().items()
    }
    return random_batch(VECTOR)._replace(stored=stored)


def _equal(one: Any, two: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, two)


def _differ(one: Any, two: Any) -> bool:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    return any((np.asarray(x) != np.asarray(y)).any() for x, y in pairs)


def _state(agent: Agent) -> TrainState:
    """Return a state of random numbers, but for the optimisers' slots: zeros."""
    shapes = jax.eval_shape(agent.init, jax.random.key(0))
    params = {name: random_tree(tree, i) for i, (name, tree) in enumerate(shapes.params.items())}
    aux = random_tree(shapes.aux, 99)
    opt = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes.opt)
    return TrainState(params, aux, opt, jnp.int32(0))


def _update(agent: Agent, phase: str, state: TrainState) -> tuple[TrainState, dict[str, Any]]:
    run = quick_jit(partial(agent.train, phase))
    carry, key = agent.initial_carry(B), jax.random.key(3)
    new, _, _, _, metrics = run(state, carry, _placed(agent), key)
    return new, metrics


def test_two_behaviours_learn_side_by_side_and_each_for_itself() -> None:
    """The first one's losses and parameters are what they are without the second."""
    alone, both = _agent(**QUICK), _agent(**QUICK, **EXPLORE)
    state = _state(both)
    own = ("explore/actor", "explore/critic")
    params = {name: tree for name, tree in state.params.items() if name not in own}
    shapes = jax.eval_shape(alone.init, jax.random.key(0))
    opt = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes.opt)
    less = TrainState(params, {MAIN: state.aux[MAIN]}, opt, state.grad_steps)
    (one, seen), (two, seen_by_both) = _update(alone, "joint", less), _update(both, "joint", state)
    for name in ("loss/actor", "loss/critic", "loss/drift", "imag/return"):
        np.testing.assert_allclose(seen[name], seen_by_both[name], rtol=1e-5)
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5)
    jax.tree.map(close, one.params["actor"], two.params["actor"])
    explored = {name for name in seen_by_both if name.startswith("explore/")}
    assert {"explore/imag/return", "explore/advantage/std"} <= explored
    losses = {"loss/explore/actor", "loss/explore/critic", "loss/explore/replay_critic"}
    assert losses | {f"opt/grad_norm/{name}" for name in own} == {
        name for name in seen_by_both if "/explore/" in name
    }
    assert set(seen_by_both) - set(seen) == explored | losses | {f"opt/grad_norm/{n}" for n in own}
    for name in own:
        assert _differ(two.params[name], state.params[name])
    # Each slow critic follows its own critic.
    for prefix, behavior in (("", MAIN), ("explore/", "explore")):
        kept, before = two.aux[behavior], state.aux[behavior]
        mix = lambda new, old: 0.25 * new + 0.75 * old
        expected = jax.tree.map(mix, two.params[f"{prefix}critic"], before.slow_critic)
        jax.tree.map(close, kept.slow_critic, expected)
    assert _differ(two.aux[MAIN].stats, two.aux["explore"].stats)


def test_the_behaviour_that_acts_is_the_one_that_was_named() -> None:
    state = None
    acted = {}
    for name, entry in ((MAIN, "actor"), ("explore", "explore/actor")):
        agent = _agent(**EXPLORE, acts=name)
        state = _state(agent) if state is None else state
        acting = agent.acting_params(state)
        assert set(acting) == {"encoder", "dynamics", "actor"}
        _equal(acting["actor"], state.params[entry])
        carry, is_first = agent.initial_acting_carry(B), np.ones(B, bool)
        run = quick_jit(partial(agent.policy, mode="eval"))
        obs = random_obs(VECTOR, B)
        acted[name] = run(acting, carry, obs, is_first, jax.random.key(0))[1]["steer"]
    assert (acted[MAIN] != acted["explore"]).any()


def test_a_behaviours_memory_goes_round_and_its_mode_arrives() -> None:
    agent = _agent(**COUNT, acts="count")
    state = _state(agent)
    state.params["count/first"] = {"bias": jnp.float32(20.0)}
    acting = agent.acting_params(state)
    assert set(acting) == {"encoder", "dynamics", "first"}
    carry, obs = agent.initial_acting_carry(3), random_obs(VECTOR, 3)
    assert agent.initial_carry(3).memory == ()  # training has none
    run = quick_jit(agent.policy, static_argnames="mode")
    ages = []
    for step in range(4):
        is_first = np.array([step == 0, step in (0, 2), True])
        carry, action, _ = run(acting, carry, obs, is_first, jax.random.key(step), mode="train")
        ages.append(np.asarray(action["steer"][:, 0]))
    np.testing.assert_array_equal(ages, [[0, 0, 0], [1, 1, 0], [2, 0, 0], [3, 1, 0]])
    np.testing.assert_array_equal(action["steer"][:, 1], [23, 21, 20])
    is_first = np.zeros(3, bool)
    _, action, _ = run(acting, carry, obs, is_first, jax.random.key(9), mode="eval")
    np.testing.assert_array_equal(action["steer"][:, 0], [-4, -2, -1])


def test_a_behaviour_that_does_not_learn_keeps_its_parameters_and_moves_what_it_keeps() -> None:
    agent = _agent(**QUICK, **COUNT)
    assert isinstance(agent.behaviors["count"], Counter)
    state = _state(agent)
    new, metrics = _update(agent, "joint", state)
    _equal(new.params["count/first"], state.params["count/first"])
    np.testing.assert_allclose(new.aux["count"], state.aux["count"] + 101)
    rewards = random_batch(VECTOR).records.reward[:, 1:]
    np.testing.assert_allclose(metrics["count/seen"], rewards.sum(), rtol=1e-5)


WORLD = {"encoder", "dynamics", "reward", "cont"}


@pytest.mark.parametrize(("phase", "trained"), [("world", WORLD), ("policy", {"actor", "critic"})])
def test_a_phase_moves_what_it_names_and_nothing_else(phase: str, trained: set[str]) -> None:
    agent = _agent(**QUICK, phases="plugins:make_in_turn")
    state = _state(agent)
    new, metrics = _update(agent, phase, state)
    moved = {name for name in state.params if _differ(new.params[name], state.params[name])}
    assert moved == trained
    assert {name for name in state.opt if _differ(new.opt[name], state.opt[name])} == {phase}
    assert new.grad_steps == 1
    kept, before = new.aux[MAIN], state.aux[MAIN]
    assert isinstance(kept, Kept)
    assert _differ(kept, before) == (phase == "policy")
    losses = {name.removeprefix("loss/") for name in metrics if name.startswith("loss/")}
    assert losses == {*agent.phases[phase].losses, "total"}
    norms = {name for name in metrics if name.startswith("opt/grad_norm/")}
    assert norms == {f"opt/grad_norm/{name}" for name in trained}
    scaled = sum(s * metrics[f"loss/{name}"] for name, s in agent.phases[phase].losses.items())
    np.testing.assert_allclose(metrics["loss/total"], scaled, rtol=1e-5)


def test_phases_have_their_own_optimisers_over_their_own_entries() -> None:
    agent = _agent(**QUICK, phases="plugins:make_in_turn")
    opt = jax.eval_shape(agent.init, jax.random.key(0)).opt
    assert set(opt) == {"world", "policy"}
    for phase, slots in opt.items():
        _, rms, momentum, *_ = slots
        assert set(rms.nu) == set(momentum.ema) == set(agent.phases[phase].modules)


def test_compiled_phases_take_turns_on_one_state() -> None:
    """One count of updates, which names their randomness; metrics follow the phase."""
    compiled = Compiled(_agent(**QUICK, phases="plugins:make_in_turn"), seed=3)
    assert compiled.phases == {"world": 0.5, "policy": 1.0}
    state, carry = compiled.put_state(_state(compiled.agent)), compiled.initial_carry(B)
    batch, updates = _placed(compiled.agent), []
    for phase in ("world", "policy", "policy"):
        update = compiled.train(phase, state, carry, batch)
        state = update.state
        updates.append(update)
    assert state.grad_steps == 3
    assert set(compiled.metric_names) == {"world", "policy"}
    world, policy = compiled.metric_names["world"], compiled.metric_names["policy"]
    assert "loss/drift" in world and "loss/actor" not in world
    assert "loss/actor" in policy and "loss/drift" not in policy
    assert [len(update.metrics) for update in updates] == [len(world), len(policy), len(policy)]


def test_an_unfinite_phase_leaves_every_other_phase_alone() -> None:
    agent = _agent(**QUICK, phases="plugins:make_in_turn")
    state = _state(agent)
    state.params["actor"] = jax.tree.map(lambda x: x * jnp.nan, state.params["actor"])
    world, seen = _update(agent, "world", state)
    assert seen["opt/skipped"] == 0  # it does not read the actor
    policy, seen = _update(agent, "policy", world)
    assert seen["opt/skipped"] == 1
    _equal(policy._replace(grad_steps=0), world._replace(grad_steps=0))
    assert policy.grad_steps == 2


@pytest.mark.parametrize("actor_loss", ["reinforce", "plugins:make_climb"])
def test_dynamics_that_are_not_an_rssm_are_learned_acted_in_and_reported(actor_loss: str) -> None:
    """Nobody but the dynamics looks into a latent: this one is a dict, and draws no noise."""
    agent = _agent(**QUICK, actor_loss=actor_loss)
    compiled = Compiled(agent, seed=3)
    state, batch = compiled.put_state(_state(agent)), _placed(agent)
    before = jax.tree.map(np.array, state.params)
    carry = compiled.initial_carry(B)
    update = compiled.train("joint", state, carry, batch)
    metrics = dict(zip(compiled.metric_names["joint"], update.metrics, strict=True))
    assert all(np.isfinite(value) for value in metrics.values())
    assert metrics["opt/skipped"] == 0
    assert {"loss/drift", "size", "loss/actor"} <= set(metrics)
    for name in ("encoder", "dynamics", "reward", "cont", "actor", "critic"):
        assert _differ(update.state.params[name], before[name]), name
    assert update.latents["place"].shape == (B, T, P)
    _equal(update.carry.latent["place"], update.latents["place"][:, -1])
    acted = compiled.policy(
        update.acting, compiled.initial_acting_carry(3), random_obs(VECTOR, 3), np.ones(3, bool), 0
    )
    assert acted[1]["steer"].shape == (3, 2) and acted[2]["place"].shape == (3, P)
    run = quick_jit(lambda s, r: report(agent, s, carry, r, jax.random.key(0)))
    shown = run(update.state, batch)
    assert shown.images == {} and "loss/drift" in shown.metrics


def test_rows_that_do_not_follow_start_from_the_stored_latent() -> None:
    agent = _agent()
    batch = _placed(agent)._replace(follows=jnp.array([True, False]))
    carry = agent.initial_carry(B)
    carry = carry._replace(latent={"place": carry.latent["place"] - 5.0})
    start, _, _ = agent.align(carry, batch)
    np.testing.assert_array_equal(start["place"][0], np.full(P, -5.0))
    assert batch.stored is not None
    np.testing.assert_array_equal(start["place"][1], batch.stored["place"][1])
