"""The world model's losses and the encoding of actions, by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import MIXED, VECTOR, B, D, K, S, T, quick_jit, random_batch, random_state, tiny_agent

from dreamer_jax.agent import Agent
from dreamer_jax.dynamics.rssm import Filtered, Latent
from dreamer_jax.heads.predictions import SymlogSquares
from dreamer_jax.nets.layers import forward
from dreamer_jax.ops.twohot import symexp_bins, twohot_loss, twohot_mean
from dreamer_jax.types import Batch, Observed, Replayed, TrainState
from dreamer_jax.world_model import WorldModel, encode_action

GAMMA = 1 - 1 / 333
BINS = symexp_bins(41)


def test_actions_are_concatenated_in_sorted_order() -> None:
    action = {
        "steer": jnp.array([[0.5, -2.0]]),
        "jump": jnp.array([2], jnp.int32),
        "keys": jnp.array([[1, 0, 0]], jnp.int32),
    }
    expected = [[0, 0, 1, 0, 0, 1, 1, 0, 1, 0, 0.5, -2]]
    np.testing.assert_array_equal(encode_action(action, MIXED.action), expected)


class Seen:
    """A tiny agent, a random batch, and latents and logits that need no filtering."""

    def __init__(self) -> None:
        rng = np.random.default_rng(37)
        self.agent: Agent = tiny_agent(VECTOR)
        self.state: TrainState = random_state(self.agent)
        self.replayed: Replayed = random_batch(VECTOR, context=0)
        deter = jnp.asarray(rng.normal(size=(B, T, D)), jnp.float32)
        latent = Latent(deter, jax.nn.one_hot(rng.integers(0, K, (B, T, S)), K))
        post, prior = (jnp.asarray(rng.normal(size=(B, T, S, K)), jnp.float32) for _ in "ab")
        feat = self.agent.world_model.dynamics.feat(latent)
        self.filtered = Filtered(latent, feat, post, prior)
        self.observed = Observed(jnp.zeros((B, T, 0)), self.filtered)

    def losses(self, **options: Any) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        model = tiny_agent(VECTOR, **options).world_model
        run = quick_jit(lambda p, o, b: model.losses(p, o, b))
        return run(self.state.params, self.observed, self.replayed.records)


@pytest.fixture(scope="module")
def seen() -> Seen:
    return Seen()


def _raw(seen: Seen, head: str) -> jax.Array:
    """Return the raw outputs of a head's network."""
    network: Any = seen.agent.world_model.heads[head][0]
    return forward(network.module, seen.state.params[head], seen.filtered.feat)


def test_losses_are_those_of_the_equations(seen: Seen) -> None:
    (losses, seen_too), params, batch = seen.losses(), seen.state.params, seen.replayed.records
    model, filtered = seen.agent.world_model, seen.filtered
    assert set(losses) == {"dyn", "rep", "reward", "cont", "recon/speed"} == {*model.losses_made}
    assert len(model.losses_made) == 5
    assert all(loss.shape == (B, T) for loss in losses.values())
    divergences, entropies = model.dynamics.losses(params["dynamics"], filtered)
    objective: Any = model.objectives["decoder"]
    raw = forward(objective.decoder, params["decoder"], *objective.inputs(filtered.latent))
    speed = SymlogSquares(raw["speed"], seen.agent.spaces.obs["speed"])
    expected = divergences | {
        "reward": twohot_loss(_raw(seen, "reward"), batch.reward, BINS),
        "recon/speed": speed.loss(batch.obs["speed"]),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(losses[name], value, rtol=1e-4, atol=1e-5)
    assert seen_too.keys() == entropies.keys()
    for name, value in entropies.items():
        np.testing.assert_allclose(seen_too[name], value, rtol=1e-4, atol=1e-5)


def test_predictions_are_the_means_of_the_heads(seen: Seen) -> None:
    model, params, feat = seen.agent.world_model, seen.state.params, seen.filtered.feat
    got = {name: model.predict(name, params, feat) for name in ("reward", "cont")}
    reward = twohot_mean(_raw(seen, "reward"), BINS)
    np.testing.assert_allclose(got["reward"], reward, rtol=1e-4, atol=1e-5)
    cont = jax.nn.sigmoid(_raw(seen, "cont")[..., 0])
    np.testing.assert_allclose(got["cont"], cont, rtol=1e-5)


@pytest.mark.parametrize("contdisc", [True, False])
def test_cont_target_is_one_on_truncation_and_zero_on_termination(
    seen: Seen, contdisc: bool
) -> None:
    """Training on any end would teach that time limits are deaths."""
    batch = seen.replayed.records
    assert (batch.is_last & ~batch.is_terminal).any() and batch.is_terminal.any()
    target = (1.0 - batch.is_terminal) * (GAMMA if contdisc else 1.0)
    prob = 1 / (1 + np.exp(-np.asarray(_raw(seen, "cont")[..., 0], np.float64)))
    expected = -target * np.log(prob) - (1 - target) * np.log(1 - prob)
    losses, _ = seen.losses(contdisc=contdisc)
    np.testing.assert_allclose(losses["cont"], expected, rtol=1e-4)


class Count:
    """An objective without a decoder: its loss is the mean of what it can see."""

    losses_made = ("count/feat", "count/embed")

    def init(self, key: jax.Array, latent: Any, feat: jax.Array, embed: jax.Array) -> Any:
        shapes = (jax.tree.leaves(latent)[0].shape[0], feat.shape, embed.shape[0])
        assert shapes == (1, (1, D + S * K), 1)
        return {"scale": jax.random.normal(key)}

    def losses(self, params: Any, observed: Observed, batch: Batch) -> Any:
        scaled = params["scale"] * observed.feat.mean(-1)
        made = {"count/feat": scaled, "count/embed": observed.embed.sum(-1) + batch.reward}
        return made, {"count/scale": jnp.full(scaled.shape, params["scale"])}

    def decode(self, params: Any, latent: Any) -> dict[str, Any]:  # noqa: ARG002
        return {}


def test_objectives_and_heads_stand_beside_each_other(seen: Seen) -> None:
    """Each has its own entry, its own losses, and what it logs."""
    plain = seen.agent.world_model
    head = plain.heads["cont"][0]
    objectives = {**plain.objectives, "count": Count()}
    heads = {**plain.heads, "ended": (head, lambda batch: batch.is_last.astype(jnp.float32))}
    model: WorldModel = dataclasses.replace(plain, objectives=objectives, heads=heads)
    assert model.modules == (*plain.modules[:-2], "count", "reward", "cont", "ended")
    assert set(quick_jit(model.init)(jax.random.key(0))) == {*model.modules}
    own = {"count": {"scale": jnp.float32(3.0)}, "ended": seen.state.params["cont"]}
    params, batch = seen.state.params | own, seen.replayed.records
    losses, logged = quick_jit(lambda p, o, b: model.losses(p, o, b))(params, seen.observed, batch)
    assert {*losses} == {*model.losses_made}
    assert {*model.losses_made} - {*plain.losses_made} == {"count/feat", "count/embed", "ended"}
    np.testing.assert_allclose(losses["count/feat"], 3 * seen.filtered.feat.mean(-1), rtol=1e-4)
    np.testing.assert_allclose(losses["count/embed"], batch.reward, rtol=1e-5)
    ended = head(params["ended"], seen.filtered.feat).loss(batch.is_last.astype(jnp.float32))
    np.testing.assert_allclose(losses["ended"], ended, rtol=1e-4)
    np.testing.assert_array_equal(logged["count/scale"], np.full((B, T), 3.0))
    assert set(model.decode(params, seen.filtered.latent)) == {"speed"}


def test_a_loss_of_another_shape_than_the_batch_is_refused(seen: Seen) -> None:
    """A mean over time inside an objective would pass unseen as a loss of weight 1."""

    class Early(Count):
        def losses(self, params: Any, observed: Observed, batch: Batch) -> Any:
            made, logged = super().losses(params, observed, batch)
            return made | {"count/feat": made["count/feat"].mean(1)}, logged

    model = dataclasses.replace(seen.agent.world_model, objectives={"count": Early()})
    params = seen.state.params | {"count": {"scale": jnp.float32(3.0)}}
    with pytest.raises(AssertionError, match="shape"):
        model.losses(params, seen.observed, seen.replayed.records)
