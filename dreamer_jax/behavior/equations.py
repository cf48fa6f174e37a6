"""The equations of actor and critic, each of some states by themselves (docs/algorithm.md 7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from dreamer_jax.distributions import ActionDistribution
from dreamer_jax.heads.protocol import Prediction
from dreamer_jax.ops.returns import lambda_returns
from dreamer_jax.types import Batch

sg = jax.lax.stop_gradient


class Targets(NamedTuple):
    """What actor and critic learn from in n imagined states."""

    feat: jax.Array  # [n, F]
    weight: jax.Array  # [n] probability that the episode gets there, discounted
    action: dict[str, jax.Array]  # [n, *shape] taken there
    advantage: jax.Array  # [n] (returns − value)/scale
    scaled_returns: jax.Array  # [n] returns/scale
    returns: jax.Array  # [n]
    slow_value: jax.Array  # [n] prediction of the slow critic


class ActorLoss(Protocol):
    """What an actor learns from imagined states.

    Attributes:
        attached: Whether the loss is differentiated through the rollout; targets then carry
            gradients, and the rollout is paid for twice.
    """

    @property
    def attached(self) -> bool: ...  # noqa: D102

    def __call__(self, policy: ActionDistribution, targets: Targets) -> jax.Array:
        """Return the loss `[n]` of each state, before the weight and without the entropy."""
        ...


@dataclass(frozen=True)
class Reinforce:
    """The policy gradient of the published algorithm, for discrete and continuous actions."""

    attached: bool = False

    def __call__(self, policy: ActionDistribution, targets: Targets) -> jax.Array:
        """Return `−log π(sg(a))·sg(adv)`."""
        return -(policy.total_log_prob(sg(targets.action)) * sg(targets.advantage))


def actor_loss(
    loss: ActorLoss, policy: ActionDistribution, targets: Targets, entropy_scale: float
) -> jax.Array:
    """Return `−sg(weight)·(gain + η·entropy)` `[n]`, where the gain is the negated loss."""
    gain = -loss(policy, targets)
    return sg(targets.weight) * -(gain + entropy_scale * policy.total_entropy())


def critic_loss(value: Prediction, targets: Targets, slow_regularizer: float) -> jax.Array:
    """Return `weight·(loss(R) + slow_regularizer·loss(slow value))` `[n]`.

    *Gradients:* none through `targets`.
    """
    targets = sg(targets)
    loss = value.loss(targets.returns) + slow_regularizer * value.loss(targets.slow_value)
    return targets.weight * loss


def replay_returns(batch: Batch, boot: jax.Array, gamma: float, lambda_: float) -> jax.Array:
    """Return λ-returns `[B, T − 1]` over replayed rewards, bootstrapped at every step.

        R_T = boot_T
        R_t = r_{t+1} + (1 − term_{t+1})·γ·((1 − l)·boot_{t+1} + l·R_{t+1})
        l   = (1 − last_{t+1})·λ

    Args:
        batch: Records `[B, T, ...]`.
        boot: `[B, T]` imagined return of each step, treated as data.
        gamma: Discount per step.
        lambda_: λ.
    """
    going = 1.0 - batch.is_last.astype(jnp.float32)
    live = gamma * (1.0 - batch.is_terminal.astype(jnp.float32))
    inputs = (batch.reward, live, going * lambda_, sg(boot))
    return lambda_returns(*(x.swapaxes(0, 1) for x in inputs)).swapaxes(0, 1)
