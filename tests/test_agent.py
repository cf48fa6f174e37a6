"""The agent as a whole: what a policy step and an update take, return, and leave alone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import (
    MIXED,
    VECTOR,
    B,
    D,
    S,
    T,
    quick_jit,
    random_batch,
    random_obs,
    random_state,
    tiny_agent,
)

from dreamer_jax.agent import MAIN, Agent
from dreamer_jax.device.compiled import Compiled, Update
from dreamer_jax.types import Carry, Columns, TrainState

JOINT = "joint"  # the one phase of the published agent
ACTING = ("encoder", "dynamics", "actor")
MODULES = {"encoder", "dynamics", "decoder", "reward", "cont", "actor", "critic"}
METRICS = {
    *(f"loss/{name}" for name in ("dyn", "rep", "reward", "cont", "actor", "critic")),
    *("loss/replay_critic", "loss/recon/matrix", "loss/recon/token", "loss/total"),
    *("dynamics/prior_entropy", "dynamics/post_entropy"),
    *(f"imag/{name}" for name in ("reward", "cont", "value", "slow_value", "weight", "return")),
    *(f"returns/{name}" for name in ("mean", "min", "max", "large_share")),
    *(f"advantage/{name}" for name in ("mean", "magnitude", "std")),
    *(f"actor/entropy/{key}" for key in MIXED.action),
    *("actor/randomness/jump", "actor/randomness/keys"),  # a normal has no largest entropy
    *(f"opt/grad_norm/{name}" for name in MODULES),
    *(f"opt/{name}" for name in ("grad_norm", "grad_rms", "update_rms", "param_rms", "skipped")),
}


class Counting(Agent):
    """An agent that counts how often its functions are traced."""

    traces: Mapping[str, list[Any]] = {"train": [], "policy": []}

    def train(self, *args: Any) -> Any:
        self.traces["train"].append(None)
        return super().train(*args)

    def policy(self, *args: Any) -> Any:
        self.traces["policy"].append(None)
        return super().policy(*args)


def _host(tree: Any) -> Any:
    return jax.tree.map(np.array, tree)


def _equal(one: Any, two: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, two)


class Run(NamedTuple):
    """A few updates of one compiled agent on one batch, with every state on the host."""

    compiled: Compiled
    first: TrainState  # before the first update
    updates: list[Update]
    gone: list[bool]  # of each leaf of each state that was passed in: whether it was given up
    acting: list[Any]  # acting parameters of each update, read after all updates


def _run(compiled: Compiled, count: int) -> Run:
    batch, carry = random_batch(MIXED), compiled.initial_carry(B)
    state = compiled.put_state(random_state(compiled.agent))
    first, updates, gone, acting = _host(state), [], [], []
    for _ in range(count):
        update = compiled.train(JOINT, state, carry, batch)
        gone += [leaf.is_deleted() for leaf in jax.tree.leaves(state)]
        state = update.state
        acting.append(update.acting)
        updates.append(update._replace(state=_host(state)))
    return Run(compiled, first, updates, gone, _host(acting))


@pytest.fixture(scope="module")
def run() -> Run:
    options: dict[str, Any] = {"warmup": 2, "learning_rate": 0.01, "slow_rate": 0.1}
    return _run(Compiled(Counting(*tiny_agent(MIXED, **options)), seed=3), 3)


def test_the_state_before_training() -> None:
    agent = tiny_agent(VECTOR)
    init = quick_jit(agent.init)
    one, again, other = (init(jax.random.key(seed)) for seed in (0, 0, 1))
    _equal(one, again)
    assert (one.params["encoder"]["mlp"]["layer0"]["dense"]["kernel"] != 0).all()
    for name in MODULES:  # reward and critic differ in their hidden layers
        pairs = zip(*(jax.tree.leaves(s.params[name]) for s in (one, other)), strict=True)
        assert any((x != y).any() for x, y in pairs)
    assert set(one.params) == MODULES
    assert set(one.aux) == {MAIN}
    _equal(one.aux[MAIN].slow_critic, one.params["critic"])
    assert one.aux[MAIN].stats == {"low": 0, "high": 0}
    assert one.grad_steps == 0


def test_train_returns_what_it_promises(run: Run) -> None:
    update, batch = run.updates[0], random_batch(MIXED)
    assert set(update.acting) == set(ACTING)
    deter, stoch = update.latents["deter"], update.latents["stoch"]
    assert deter.shape == (B, T, D)
    assert stoch.shape == (B, T, S) and stoch.dtype == jnp.uint8
    _equal(update.carry.action, {k: v[:, -1] for k, v in batch.records.action.items()})
    _equal(update.carry.latent.deter, deter[:, -1])
    _equal(jnp.argmax(update.carry.latent.stoch, -1), stoch[:, -1])
    shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
    assert shapes(update.state) == shapes(run.first)
    assert [u.state.grad_steps for u in run.updates] == [1, 2, 3]


def test_metrics_are_the_documented_finite_scalars(run: Run) -> None:
    assert set(run.compiled.metric_names) == {JOINT}
    assert len(run.compiled.metric_names[JOINT]) == len(METRICS)
    assert set(run.compiled.metric_names[JOINT]) == METRICS
    for update in run.updates:
        assert update.metrics.dtype == jnp.float32 and jnp.isfinite(update.metrics).all()


def test_total_loss_is_the_scaled_sum(run: Run) -> None:
    scales = run.compiled.agent.phases[JOINT].losses
    assert {f"loss/{name}" for name in scales} | {"loss/total"} == {
        name for name in METRICS if name.startswith("loss/")
    }
    metrics = dict(zip(run.compiled.metric_names[JOINT], run.updates[1].metrics, strict=True))
    total = sum(scale * metrics[f"loss/{name}"] for name, scale in scales.items())
    np.testing.assert_allclose(metrics["loss/total"], total, rtol=1e-5)


@pytest.mark.parametrize("change", [{"typo": 1.0}, {"dyn": None}])
def test_a_loss_without_a_scale_or_the_reverse_is_refused(change: dict[str, float | None]) -> None:
    """A scale that names no loss would silently switch nothing off."""
    agent = tiny_agent(VECTOR)
    joint = agent.phases[JOINT]
    scales = {k: v for k, v in (dict(joint.losses) | change).items() if v is not None}
    agent = agent._replace(phases={JOINT: joint._replace(losses=scales)})
    state = jax.eval_shape(agent.init, jax.random.key(0))
    args = (state, agent.initial_carry(B), random_batch(VECTOR), jax.random.key(0))
    with pytest.raises(ValueError, match=r"losses .* but scales"):
        jax.eval_shape(partial(agent.train, JOINT), *args)


def test_first_update_warms_up_from_rate_zero(run: Run) -> None:
    _equal(run.updates[0].state.params, run.first.params)
    moved = jax.tree.map(lambda x, y: (x != y).any(), run.updates[1].state.params, run.first.params)
    assert all(all(jax.tree.leaves(moved[name])) for name in MODULES)


def test_acting_parameters_are_those_after_the_update_and_outlive_the_state(run: Run) -> None:
    assert all(run.gone)  # the states were donated before the parameters were read
    for update, acting in zip(run.updates, run.acting, strict=True):
        _equal(acting, {name: update.state.params[name] for name in ACTING})


def test_the_state_is_donated(run: Run) -> None:
    assert len(run.gone) > 100 and all(run.gone)


def test_the_slow_critic_moves_only_towards_the_updated_critic(run: Run) -> None:
    behavior: Any = run.compiled.agent.behaviors[MAIN]
    rate = behavior.slow_rate
    before = run.first
    for update in run.updates:
        mix = lambda new, old: rate * new + (1 - rate) * old
        slow = before.aux[MAIN].slow_critic
        expected = jax.tree.map(mix, update.state.params["critic"], slow)
        close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-8)
        jax.tree.map(close, update.state.aux[MAIN].slow_critic, expected)
        before = update.state


def test_updates_are_determined_by_seed_and_step(run: Run) -> None:
    again = _run(run.compiled, 2)
    for one, two in zip(run.updates, again.updates, strict=False):
        _equal(_host(one), _host(two))
    # The same state and batch at another step meet other noise.
    one, two = (update.latents["stoch"] for update in run.updates[:2])
    assert (one != two).any()


def test_everything_is_traced_once(run: Run) -> None:
    """A retrace per call would hide in the wall clock until the first long run."""
    envs, params = 3, run.acting[0]
    carry = run.compiled.initial_carry(envs)
    for step in range(3):
        is_first = np.full(envs, step == 0)
        obs = random_obs(MIXED, envs, step)
        carry, *_ = run.compiled.policy(params, carry, obs, is_first, step)
    assert {name: len(calls) for name, calls in Counting.traces.items()} == {
        "train": 1,
        "policy": 1,
    }


def test_programs_hold_no_host_round_trip() -> None:
    agent = tiny_agent(MIXED)
    state = jax.eval_shape(agent.init, jax.random.key(0))
    args = (state, agent.initial_carry(B), random_batch(MIXED), jax.random.key(0))
    assert not jax.make_jaxpr(partial(agent.train, JOINT))(*args).effects


class Acted(NamedTuple):
    carry: Carry
    action: dict[str, jax.Array]
    latent: Columns


def _act(run: Run, step: int, mode: str, **changes: Any) -> Acted:
    envs = 3
    state = random_state(run.compiled.agent)
    inputs: dict[str, Any] = {
        "carry": run.compiled.initial_carry(envs),
        "obs": random_obs(MIXED, envs),
        "is_first": np.ones(envs, bool),
    }
    inputs |= changes
    acting = {name: state.params[name] for name in ACTING}
    return Acted(*run.compiled.policy(acting, **inputs, step=step, mode=mode))


def test_actions_and_latents_fit_their_spaces(run: Run) -> None:
    carry, action, latent = _act(run, 0, "train")
    for key, space in MIXED.action.items():
        assert action[key].shape == (3, *space.shape) and action[key].dtype == space.dtype
        _equal(carry.action[key], action[key])
        if space.classes is not None:
            assert 0 <= action[key].min() and action[key].max() < space.classes
    packed = run.compiled.agent.world_model.dynamics.pack(carry.latent)
    _equal(packed, latent)


def test_training_samples_and_evaluation_takes_the_mode(run: Run) -> None:
    agent = run.compiled.agent
    behavior: Any = agent.behaviors[MAIN]
    params, apply = random_state(agent).params["actor"], quick_jit(behavior.actor.module.apply)

    def acted(mode: str) -> tuple[dict[str, jax.Array], dict[str, Any]]:
        carry, action, _ = _act(run, 0, mode)
        return action, apply({"params": params}, agent.world_model.dynamics.feat(carry.latent))

    sampled, outputs = acted("train")
    assert not np.isclose(sampled["steer"], outputs["steer"][0]).any(), "not the mode"
    action, outputs = acted("eval")
    _equal(action["jump"], jnp.argmax(outputs["jump"], -1))
    _equal(action["keys"], jnp.argmax(outputs["keys"], -1))
    np.testing.assert_allclose(action["steer"], outputs["steer"][0], rtol=1e-5, atol=1e-6)


def test_an_unknown_mode_is_refused(run: Run) -> None:
    with pytest.raises(ValueError, match="mode='test' is unknown; use 'train' or 'eval'"):
        _act(run, 0, "test")


def test_a_reset_environment_does_not_see_its_carry(run: Run) -> None:
    used = _act(run, 0, "train").carry
    is_first = np.array([True, False, True])
    one = _act(run, 1, "train", is_first=is_first)
    two = _act(run, 1, "train", is_first=is_first, carry=used)
    same = (np.asarray(one.carry.latent.deter) == two.carry.latent.deter).all(-1)
    np.testing.assert_array_equal(same, is_first)


def _named(run: Run, update: Update) -> dict[str, float]:
    return dict(zip(run.compiled.metric_names[JOINT], update.metrics.tolist(), strict=True))


@pytest.mark.parametrize("where", ["batch", "parameter", "gradient"])
def test_an_update_that_is_not_finite_changes_nothing_but_the_count(run: Run, where: str) -> None:
    """One bad batch used to make every parameter NaN, and the next checkpoint with them."""
    state, batch = random_state(run.compiled.agent, 5), random_batch(MIXED)
    decoder = state.params["decoder"]
    if where == "batch":
        reward = batch.records.reward.at[1, 2].set(jnp.nan)
        batch = batch._replace(records=batch.records._replace(reward=reward))
    elif where == "parameter":
        dense = decoder["mlp"]["layer0"]["dense"]
        dense["kernel"] = dense["kernel"].at[3, 1].set(jnp.inf)
    else:  # a loss of about 1e36 is finite, the squares of its gradients are not
        decoder["vector_matrix"]["out"]["kernel"] *= 1e18
    before, carry = _host(state), _act(run, 0, "train").carry
    carry = jax.tree.map(lambda x: x[:B], carry)
    update = run.compiled.train(JOINT, run.compiled.put_state(state), carry, batch)
    metrics = _named(run, update)
    if where != "batch":
        assert not np.isfinite(metrics["opt/grad_norm/decoder"])
    assert np.isfinite(metrics["loss/total"]) == (where == "gradient")
    assert metrics["opt/skipped"] == 1
    _equal(update.state._replace(grad_steps=0), before._replace(grad_steps=0))
    assert update.state.grad_steps == 1
    _equal(update.carry, carry)
    _equal(update.acting, {name: before.params[name] for name in ACTING})


def test_the_update_after_a_skipped_one_is_as_if_it_had_not_been(run: Run) -> None:
    batch, state = random_batch(MIXED), random_state(run.compiled.agent)
    bad = batch._replace(records=batch.records._replace(reward=batch.records.reward * jnp.nan))
    carry = run.compiled.initial_carry(B)
    skipped = run.compiled.train(JOINT, run.compiled.put_state(state), carry, bad)
    after = run.compiled.train(JOINT, skipped.state, skipped.carry, batch)
    late = run.first._replace(grad_steps=jnp.int32(1))
    straight = run.compiled.train(JOINT, run.compiled.put_state(late), carry, batch)
    _equal(_host(after), _host(straight))
    assert _named(run, after)["opt/skipped"] == 0


def test_one_batch_is_learned_by_heart(run: Run) -> None:
    """Reconstruction and divergence must fall far on records that never change."""
    compiled, batch = run.compiled, random_batch(MIXED)
    state, carry = compiled.put_state(random_state(compiled.agent)), compiled.initial_carry(B)
    history = []
    for _ in range(150):
        update = compiled.train(JOINT, state, carry, batch)
        state = update.state
        history.append(np.asarray(update.metrics))
    first, last = (
        dict(zip(compiled.metric_names[JOINT], values, strict=True))
        for values in (history[0], np.mean(history[-10:], 0))
    )
    assert last["loss/recon/matrix"] < 2 < 20 < first["loss/recon/matrix"]
    assert last["loss/recon/token"] < 1 < np.log(7) < first["loss/recon/token"]
    assert last["loss/dyn"] < 1.05 < 3 < first["loss/dyn"]  # down to the free nats
    assert last["loss/reward"] < 1.5 < 4 < first["loss/reward"]
