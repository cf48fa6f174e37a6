"""The equations of actor and critic, by hand, and what each of them stops gradients at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_jax.behavior.equations import (
    Reinforce,
    Targets,
    actor_loss,
    critic_loss,
    replay_returns,
)
from dreamer_jax.distributions import ActionDistribution
from dreamer_jax.types import Batch, Space

SPACES = {"jump": Space(np.dtype("int32"), (), 2), "steer": Space(np.dtype("float32"), (2,))}
QUARTER = {"jump": jnp.log(jnp.array([[0.25, 0.75], [0.5, 0.5]]))}  # logits of two states
MOVES = (jnp.array([[0.0, 1.0], [2.0, -1.0]]), jnp.array([[1.0, 2.0], [0.5, 1.0]]))
LOG_2PI = np.log(2 * np.pi)


def _policy(outputs: Any = None) -> ActionDistribution:
    outputs = QUARTER | {"steer": MOVES} if outputs is None else outputs
    return ActionDistribution(outputs, SPACES, unimix=0.0)


TARGETS = Targets(
    feat=jnp.zeros((2, 3)),
    weight=jnp.array([0.5, 0.1]),
    action={"jump": jnp.array([0, 1]), "steer": jnp.array([[1.0, 1.0], [2.0, 0.0]])},
    advantage=jnp.array([2.0, -3.0]),
    scaled_returns=jnp.array([7.0, 11.0]),
    returns=jnp.array([1.0, -2.0]),
    slow_value=jnp.array([3.0, 0.5]),
)
# Of the actions above: first state z = (1, 0), second z = (0, 1).
LOG_PROBS = np.array(
    [
        np.log(0.25) - 0.5 * (1 + 0) - np.log(1 * 2) - LOG_2PI,
        np.log(0.5) - 0.5 * (0 + 1) - np.log(0.5 * 1) - LOG_2PI,
    ]
)
ENTROPIES = np.array(
    [
        -0.25 * np.log(0.25) - 0.75 * np.log(0.75) + np.log(1 * 2) + 1 + LOG_2PI,
        np.log(2) + np.log(0.5 * 1) + 1 + LOG_2PI,
    ]
)


def test_reinforce_is_the_log_probability_times_the_advantage() -> None:
    loss = Reinforce()
    assert not loss.attached
    np.testing.assert_allclose(loss(_policy(), TARGETS), -LOG_PROBS * [2.0, -3.0], rtol=1e-5)


def test_reinforce_has_no_gradient_but_through_the_policy() -> None:
    """An action's own gradient would cancel the score of a normal distribution exactly."""

    def total(mean: jax.Array, targets: Targets) -> jax.Array:
        policy = _policy(QUARTER | {"steer": (mean, MOVES[1])})
        return Reinforce()(policy, targets).sum()

    by_mean, by_targets = jax.grad(total, argnums=(0, 1), allow_int=True)(MOVES[0], TARGETS)
    # d log N(a; μ, σ)/dμ = (a − μ)/σ²
    np.testing.assert_allclose(by_mean, [[-2.0 * 1.0, 0.0], [0.0, 3.0 * 1.0]], rtol=1e-5)
    by_targets.action.pop("jump")
    assert not any(leaf.any() for leaf in jax.tree.leaves(by_targets))


@dataclass(frozen=True)
class Climb:
    """A loss that is not the published one."""

    attached: bool = True

    def __call__(self, policy: ActionDistribution, targets: Targets) -> jax.Array:  # noqa: ARG002
        return -targets.scaled_returns


@pytest.mark.parametrize(
    ("loss", "own"),
    [(Reinforce(), -LOG_PROBS * [2.0, -3.0]), (Climb(), np.array([-7.0, -11.0]))],
)
def test_the_actor_loss_is_weighted_and_has_entropy(loss: Any, own: np.ndarray) -> None:
    expected = np.array([0.5, 0.1]) * (own - 0.3 * ENTROPIES)
    np.testing.assert_allclose(actor_loss(loss, _policy(), TARGETS, 0.3), expected, rtol=1e-5)


def test_the_weight_of_a_state_is_not_what_the_actor_improves() -> None:
    """Reaching a state more often would be a way to lower the loss, not to act better."""

    def total(weight: jax.Array, scaled: jax.Array) -> jax.Array:
        targets = TARGETS._replace(weight=weight, scaled_returns=scaled)
        return actor_loss(Climb(), _policy(), targets, 0.3).sum()

    by_weight, by_scaled = jax.grad(total, argnums=(0, 1))(TARGETS.weight, TARGETS.scaled_returns)
    assert not by_weight.any()
    np.testing.assert_allclose(by_scaled, [-0.5, -0.1], rtol=1e-6)


@dataclass(frozen=True)
class Squares:
    """A critic's prediction whose loss one can compute in the head."""

    value: jax.Array

    def loss(self, target: jax.Array) -> jax.Array:
        return (self.value - target) ** 2

    def mean(self) -> jax.Array:
        return self.value


def test_the_critic_learns_returns_and_stays_near_the_slow_one() -> None:
    loss = critic_loss(Squares(jnp.array([2.0, 1.0])), TARGETS, 0.25)
    # (2 − 1)² + ¼(2 − 3)², (1 + 2)² + ¼(1 − 0.5)²
    np.testing.assert_allclose(loss, [0.5 * 1.25, 0.1 * 9.0625], rtol=1e-6)


def test_the_targets_of_the_critic_have_no_gradient() -> None:
    def total(value: jax.Array, targets: Targets) -> jax.Array:
        return critic_loss(Squares(value), targets, 0.25).sum()

    value = jnp.array([2.0, 1.0])
    by_value, by_targets = jax.grad(total, argnums=(0, 1), allow_int=True)(value, TARGETS)
    # 2(v − R) + ½(v − slow), weighted
    np.testing.assert_allclose(by_value, [0.5 * (2 - 0.5), 0.1 * (6 + 0.25)], rtol=1e-6)
    by_targets.action.pop("jump")
    assert not any(leaf.any() for leaf in jax.tree.leaves(by_targets))


def _records() -> Batch:
    """One row: a truncation at 2, a reset at 3, a termination at 4."""
    at = lambda *steps: jnp.asarray(np.isin(np.arange(6), steps))[None]
    reward = jnp.array([[9.0, 1.0, 2.0, 0.0, 4.0, 8.0]])
    return Batch({}, {}, reward, at(0, 3, 5), at(2, 4), at(4))


BOOT = jnp.array([[99.0, 10.0, 20.0, 30.0, 40.0, 50.0]])


def test_replay_returns_by_hand() -> None:
    """γ = ½ and λ = ¾; index t + 1 of rewards, flags and bootstraps enters the return of t."""
    returns = replay_returns(_records(), BOOT, 0.5, 0.75)
    fifth = 8 + 0.5 * 50
    fourth = 4.0  # a true end: nothing follows
    third = 0 + 0.5 * (0.25 * 30 + 0.75 * fourth)
    second = 2 + 0.5 * 20  # cut off: the bootstrap alone goes on
    first = 1 + 0.5 * (0.25 * 10 + 0.75 * second)
    np.testing.assert_allclose(returns, [[first, second, third, fourth, fifth]], rtol=1e-6)


def test_bootstraps_of_replay_returns_are_data() -> None:
    total = lambda boot: replay_returns(_records(), boot, 0.5, 0.75).sum()
    assert not jax.grad(total)(BOOT).any()
