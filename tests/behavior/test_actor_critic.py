"""Losses of the behaviour against NumPy, with a world model and networks that one can read.

In these tests a state's features *are* its answers: `feat = (reward, cont, value logits …,
action logits …)`, so that every number of the loss can be set by hand.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from tiny import quick_jit

from dreamer_jax.behavior.actor_critic import ActorCritic, ReturnScaling
from dreamer_jax.behavior.imagination import Actor, Imagined
from dreamer_jax.distributions import RANDOM
from dreamer_jax.types import Batch, Space

H, N, B, T = 3, 5, 2, 7
BINS = np.array([-4.0, -1.0, 0.0, 1.0, 4.0], np.float32)
ACTIONS = 2
GAMMA, LAMBDA, ETA = 0.9, 0.8, 0.05
SPACES = {"jump": Space(np.dtype("int32"), (), ACTIONS)}
RNG = np.random.default_rng(31)


class ReadCritic(nn.Module):
    """Value logits from the middle columns; a parameter favours the highest bin."""

    @nn.compact
    def __call__(self, feat: jax.Array) -> jax.Array:
        bonus = self.param("bonus", nn.initializers.zeros, ())
        return feat[..., 2 : 2 + len(BINS)].at[..., -1].add(bonus)


class ReadActor(nn.Module):
    """Action logits from the last columns, times a parameter."""

    @nn.compact
    def __call__(self, feat: jax.Array) -> dict[str, jax.Array]:
        return {"jump": feat[..., -ACTIONS:] * self.param("gain", nn.initializers.ones, ())}


class ReadWorld:
    """A world model whose predictions are the first two features."""

    def predict_reward(self, params: Any, feat: jax.Array) -> jax.Array:
        return feat[..., 0] + params["world"]

    def predict_cont(self, params: Any, feat: jax.Array) -> jax.Array:
        return feat[..., 1] + params["world"]


WORLD: Any = ReadWorld()


def _behavior(**options: Any) -> ActorCritic:
    settings: dict[str, Any] = {
        "actor": Actor(ReadActor(), SPACES, 0.0),
        "critic": ReadCritic(),
        "bins": BINS,
        "sampler": RANDOM,
        "imag_horizon": H,
        "imag_last": 0,
        "gamma": GAMMA,
        "contdisc": True,
        "lambda_": LAMBDA,
        "replay_lambda": LAMBDA,
        "entropy_scale": ETA,
        "slow_regularizer": 0.7,
        "replay_slow_regularizer": 0.3,
        "slow_target": False,
        "scaling": ReturnScaling(0.5, 10.0, 90.0, 0.1),
        "slice_rows": 0,
    }
    return ActorCritic(**(settings | options))


PARAMS = {
    "actor": {"gain": jnp.float32(1.0)},
    "critic": {"bonus": jnp.float32(0.0)},
    "world": jnp.float32(0.0),
}
BONUS = 1.5  # by which the slow critic disagrees with the critic
SLOW = {"critic": {"bonus": jnp.float32(BONUS)}}


def _feat(*lead: int) -> jax.Array:
    parts = [
        RNG.normal(size=(*lead, 1)),
        RNG.uniform(0.3, 1.0, (*lead, 1)),
        RNG.normal(size=(*lead, len(BINS) + ACTIONS)),
    ]
    return jnp.asarray(np.concatenate(parts, -1), jnp.float32)


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
    """Compute SPEC 7 step by step."""
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


def _imagined() -> Imagined:
    feat = _feat(H + 1, N)
    action = {"jump": jnp.asarray(RNG.integers(0, ACTIONS, (H, N)), jnp.int32)}
    return _rollout(feat, action)


def _rollout(feat: jax.Array, action: dict[str, jax.Array]) -> Imagined:
    return Imagined(feat[:-1], action, feat[-1])


def _features(imagined: Imagined) -> np.ndarray:
    return np.asarray(jnp.concatenate([imagined.feat, imagined.last[None]]), np.float64)


STATS = {"low": jnp.float32(-1.0), "high": jnp.float32(2.0)}


@pytest.mark.parametrize("contdisc", [True, False])
@pytest.mark.parametrize("slow_target", [False, True])
def test_imagined_losses_equal_the_equations(contdisc: bool, slow_target: bool) -> None:
    behavior, imagined = _behavior(contdisc=contdisc, slow_target=slow_target), _imagined()
    run = quick_jit(lambda i: behavior.imagined_losses(PARAMS, SLOW, STATS, WORLD, i))
    losses, stats, metrics, returns = run(imagined)
    feat, action = _features(imagined), np.asarray(imagined.action["jump"])
    want = _expected(feat, action, contdisc, slow_target)
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
    assert set(losses) == {"actor", "critic"}
    close(returns, want.returns)
    close(losses["actor"], want.actor.mean())
    close(losses["critic"], want.critic.mean())
    close([stats["low"], stats["high"]], [want.low, want.high])  # moved before their use
    close(metrics["imag/return"], want.returns.mean())
    close(metrics["imag/value"], _value(feat).mean())
    close(metrics["imag/slow_value"], _value(feat, BONUS).mean())


def test_actor_and_critic_losses_stop_at_the_features() -> None:
    behavior, imagined = _behavior(), _imagined()

    def total(params: Any, slow: Any, feat: jax.Array) -> jax.Array:
        rollout = _rollout(feat, imagined.action)
        losses, *_ = behavior.imagined_losses(params, slow, STATS, WORLD, rollout)
        return losses["actor"] + losses["critic"]

    grad = quick_jit(jax.grad(total, argnums=(0, 1, 2)))
    by_params, by_slow, by_feat = grad(PARAMS, SLOW, jnp.asarray(_features(imagined), jnp.float32))
    assert by_params["actor"]["gain"] != 0 and by_params["critic"]["bonus"] != 0
    assert by_params["world"] == 0
    assert by_slow["critic"]["bonus"] == 0
    assert not by_feat.any()


def test_the_actor_gradient_is_reinforce_with_a_baseline() -> None:
    """Through a sampled class there is no other gradient; a pathwise one would be 0.

    d log softmax(g·l)[a] / dg = l[a] − Σ p·l   at g = 1
    """
    behavior = _behavior(entropy_scale=0.0, scaling=ReturnScaling(0.0, 10.0, 90.0, 3.0))
    imagined = _imagined()

    def loss(gain: jax.Array, choice: int) -> jax.Array:
        params = PARAMS | {"actor": {"gain": gain}}
        action = {"jump": jnp.full((H, N), choice, jnp.int32)}
        rollout = imagined._replace(action=action)
        return behavior.imagined_losses(params, SLOW, STATS, WORLD, rollout)[0]["actor"]

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
    behavior, batch = _behavior(), _records()
    feat, boot = _feat(B, T), jnp.asarray(RNG.normal(size=(B, T)), jnp.float32)
    loss = quick_jit(lambda f: behavior.replay_loss(PARAMS, SLOW, f, batch, boot))(feat)
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


def test_the_replay_loss_reaches_the_features_but_not_its_targets() -> None:
    behavior, batch = _behavior(), _records()
    feat, boot = _feat(B, T), jnp.asarray(RNG.normal(size=(B, T)), jnp.float32)

    def total(params: Any, slow: Any, feat: jax.Array, boot: jax.Array) -> jax.Array:
        return behavior.replay_loss(params, slow, feat, batch, boot).sum()

    grad = quick_jit(jax.grad(total, argnums=(0, 1, 2, 3)))
    by_params, by_slow, by_feat, by_boot = grad(PARAMS, SLOW, feat, boot)
    assert by_params["critic"]["bonus"] != 0
    assert by_slow["critic"]["bonus"] == 0
    assert (by_feat != 0).any(-1)[:, [0, 1, 3, 5]].all()
    assert not by_feat[:, -1].any()  # the last state has no return of its own
    assert not by_boot.any()
