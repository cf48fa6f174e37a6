"""Losses of the behaviour against NumPy, on states that one can read (`support/readable.py`)."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from readable import (
    ACTIONS,
    BINS,
    BONUS,
    ETA,
    GAMMA,
    KEPT,
    LAMBDA,
    PARAMS,
    RNG,
    B,
    H,
    N,
    ReadCritic,
    T,
    as_rollout,
    draw_rollout,
    draw_states,
    read_behavior,
)
from tiny import quick_jit

from dreamer_jax.behavior.actor_critic import Kept, ReturnScaling
from dreamer_jax.behavior.imagination import Imagined
from dreamer_jax.heads.network import NetworkHead
from dreamer_jax.heads.predictions import TwoHot
from dreamer_jax.types import Batch


def _softmax(x: np.ndarray) -> np.ndarray:
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def _value(feat: np.ndarray, bonus: float = 0.0) -> np.ndarray:
    logits = feat[..., 2 : 2 + len(BINS)].copy()
    logits[..., -1] += bonus
    return (_softmax(logits) * BINS).sum(-1)


def _twohot_loss(feat: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the cross-entropy with the dense two-hot target built by interpolation."""
    dense = np.stack([np.interp(target, BINS, np.eye(len(BINS))[i]) for i in range(len(BINS))], -1)
    return -(dense * np.log(_softmax(feat[..., 2 : 2 + len(BINS)]))).sum(-1)


class Expected(NamedTuple):
    actor: np.ndarray
    critic: np.ndarray
    returns: np.ndarray
    low: float
    high: float


def _expected(feat: np.ndarray, action: np.ndarray, contdisc: bool, slow_target: bool) -> Expected:
    """Compute docs/algorithm.md 7 step by step."""
    disc = 1.0 if contdisc else GAMMA
    reward, cont = feat[..., 0], feat[..., 1]
    slow = _value(feat, BONUS)
    value = slow if slow_target else _value(feat)
    returns = np.zeros((H, N))
    later = value[H]
    for h in reversed(range(H)):
        mixed = (1 - LAMBDA) * value[h + 1] + LAMBDA * later
        later = returns[h] = reward[h + 1] + disc * cont[h + 1] * mixed
    weight = np.stack([disc**h * cont[: h + 1].prod(0) for h in range(H)])
    low = 0.5 * -1 + 0.5 * np.percentile(returns, 10)
    high = 0.5 * 2 + 0.5 * np.percentile(returns, 90)
    advantage = (returns - value[:H]) / max(0.1, high - low)
    probs = _softmax(feat[:H, :, -ACTIONS:])
    log_prob = np.log(np.take_along_axis(probs, action[:H, :, None], -1))[..., 0]
    entropy = -(probs * np.log(probs)).sum(-1)
    critic = _twohot_loss(feat[:H], returns) + 0.7 * _twohot_loss(feat[:H], slow[:H])
    actor = -(log_prob * advantage + ETA * entropy)
    return Expected(weight * actor, weight * critic, returns, low, high)


def _features(imagined: Imagined) -> np.ndarray:
    return np.asarray(jnp.concatenate([imagined.feat, imagined.last[None]]), np.float64)


@pytest.mark.parametrize("contdisc", [True, False])
@pytest.mark.parametrize("slow_target", [False, True])
def test_imagined_losses_equal_the_equations(contdisc: bool, slow_target: bool) -> None:
    behavior, imagined = read_behavior(contdisc=contdisc, slow_target=slow_target), draw_rollout()
    run = quick_jit(lambda i: behavior.imagined_losses(PARAMS, KEPT, i))
    losses, kept, metrics, returns = run(imagined)
    feat, action = _features(imagined), np.asarray(imagined.action["jump"])
    want = _expected(feat, action, contdisc, slow_target)
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
    assert set(losses) == {"actor", "critic"}
    close(returns, want.returns)
    close(losses["actor"], want.actor.mean())
    close(losses["critic"], want.critic.mean())
    close([kept.stats["low"], kept.stats["high"]], [want.low, want.high])  # moved before their use
    assert kept.slow_critic == KEPT.slow_critic
    close(metrics["imag/return"], want.returns.mean())
    close(metrics["imag/value"], _value(feat).mean())
    close(metrics["imag/slow_value"], _value(feat, BONUS).mean())


def test_actor_and_critic_losses_stop_at_the_features() -> None:
    behavior, imagined = read_behavior(), draw_rollout()

    def total(params: Any, kept: Kept, feat: jax.Array) -> jax.Array:
        rollout = as_rollout(feat, imagined.action)
        losses, *_ = behavior.imagined_losses(params, kept, rollout)
        return losses["actor"] + losses["critic"]

    grad = quick_jit(jax.grad(total, argnums=(0, 1, 2)))
    by_params, by_kept, by_feat = grad(PARAMS, KEPT, jnp.asarray(_features(imagined), jnp.float32))
    assert by_params["actor"]["gain"] != 0 and by_params["critic"]["bonus"] != 0
    assert by_params["world"] == 0
    assert by_kept.slow_critic["bonus"] == 0
    assert by_kept.stats["low"] == by_kept.stats["high"] == 0
    assert not by_feat.any()


def test_the_actor_gradient_is_reinforce_with_a_baseline() -> None:
    """Through a sampled class there is no other gradient; a pathwise one would be 0.

    d log softmax(g·l)[a] / dg = l[a] − Σ p·l   at g = 1
    """
    behavior = read_behavior(entropy_scale=0.0, scaling=ReturnScaling(0.0, 10.0, 90.0, 3.0))
    imagined = draw_rollout()

    def loss(gain: jax.Array, choice: int) -> jax.Array:
        params = PARAMS | {"actor": {"gain": gain}}
        action = {"jump": jnp.full((H, N), choice, jnp.int32)}
        rollout = imagined._replace(action=action)
        return behavior.imagined_losses(params, KEPT, rollout)[0]["actor"]

    feat = _features(imagined)
    want = _expected(feat, np.zeros((H, N), int), True, False)
    weight = np.cumprod(feat[..., 1], 0)[:H]
    advantage = (want.returns - _value(feat)[:H]) / 3.0
    logits = feat[:H, :, -ACTIONS:]
    probs = _softmax(logits)
    grad = quick_jit(jax.jacfwd(loss), static_argnums=1)
    for choice in range(ACTIONS):
        score = logits[..., choice] - (probs * logits).sum(-1)
        expected = (-weight * score * advantage).mean()
        got = grad(jnp.float32(1.0), choice)
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5)


def _records() -> Batch:
    flag = lambda *at: np.isin(np.arange(T), at)[None].repeat(B, 0)
    is_last = flag(2, 4)  # a truncation at 2, a termination at 4
    reward = RNG.normal(size=(B, T)).astype(np.float32)
    return Batch({}, {}, reward, flag(0, 3, 5), is_last, flag(4))


def test_replay_loss_equals_the_equations() -> None:
    behavior, batch = read_behavior(), _records()
    feat, boot = draw_states(B, T), jnp.asarray(RNG.normal(size=(B, T)), jnp.float32)
    critics = (PARAMS["critic"], KEPT.slow_critic)
    loss = quick_jit(lambda f: behavior.replay_loss(critics, f, batch, boot))(feat)
    assert loss.shape == (B, T - 1)
    states = np.asarray(feat, np.float64)
    returns, later = np.zeros((B, T - 1)), np.asarray(boot)[:, -1]
    for t in reversed(range(T - 1)):
        trace = (1 - batch.is_last[:, t + 1]) * LAMBDA
        alive = (1 - batch.is_terminal[:, t + 1]) * GAMMA
        later = batch.reward[:, t + 1] + alive * ((1 - trace) * boot[:, t + 1] + trace * later)
        returns[:, t] = later
    both = _twohot_loss(states, np.pad(returns, ((0, 0), (0, 1))))
    both = both + 0.3 * _twohot_loss(states, _value(states, BONUS))
    expected = (1 - batch.is_last[:, :-1]) * both[:, :-1]
    np.testing.assert_allclose(loss, expected, rtol=1e-4, atol=1e-5)
    # Before a termination only the reward counts; before a truncation the bootstrap goes on.
    np.testing.assert_allclose(returns[:, 3], batch.reward[:, 4], rtol=1e-6)
    truncated = batch.reward[:, 2] + GAMMA * np.asarray(boot)[:, 2]
    np.testing.assert_allclose(returns[:, 1], truncated, rtol=1e-6)
    assert not loss[:, [2, 4]].any()


class Squares(NamedTuple):
    """A critic of another kind, whose loss leaves it to the caller what a target is."""

    raw: jax.Array  # [..., bins]

    def loss(self, target: jax.Array) -> jax.Array:
        return jnp.square(self.mean() - target)

    def mean(self) -> jax.Array:
        return self.raw.sum(-1)


@pytest.mark.parametrize("meaning", [partial(TwoHot, bins=BINS), Squares])
def test_the_replay_loss_reaches_the_features_but_not_its_targets(meaning: Any) -> None:
    """A slow critic that learned passed every test: two-hot losses stop their own targets."""
    critic_head = NetworkHead(ReadCritic(), meaning)
    behavior, batch = read_behavior(critic=critic_head), _records()
    feat, boot = draw_states(B, T), jnp.asarray(RNG.normal(size=(B, T)), jnp.float32)

    def total(params: Any, slow: Any, feat: jax.Array, boot: jax.Array) -> jax.Array:
        return behavior.replay_loss((params, slow), feat, batch, boot).sum()

    grad = quick_jit(jax.grad(total, argnums=(0, 1, 2, 3)))
    critic, slow = PARAMS["critic"], KEPT.slow_critic
    by_params, by_slow, by_feat, by_boot = grad(critic, slow, feat, boot)
    assert by_params["bonus"] != 0
    assert by_slow["bonus"] == 0
    assert (by_feat != 0).any(-1)[:, [0, 1, 3, 5]].all()
    assert not by_feat[:, -1].any()  # the last state has no return of its own
    assert not by_boot.any()


def test_the_slow_critic_follows_the_critic() -> None:
    params = PARAMS | {"critic": {"bonus": jnp.float32(4.0)}}
    kept = read_behavior(slow_rate=0.25).after_update(params, KEPT)
    assert kept.slow_critic == {"bonus": 0.25 * 4.0 + 0.75 * BONUS}
    assert kept.stats == KEPT.stats


def test_the_slow_critic_starts_as_a_copy_and_acting_remembers_nothing() -> None:
    behavior = read_behavior()
    params, kept = behavior.init(jax.random.key(0), draw_states(1))
    assert tuple(params) == behavior.modules == ("actor", "critic")
    assert kept.slow_critic == params["critic"]
    assert kept.slow_critic["bonus"] is not params["critic"]["bonus"]  # states are donated
    assert kept.stats == {"low": 0, "high": 0}
    assert behavior.initial_memory(3) == ()
