"""Actor and critic that learn from imagined and replayed returns (docs/algorithm.md 7).

    start at replayed states → imagine → judge → returns → losses of actor and critic
    imagined returns → returns of replayed rewards → loss of the critic on replay

The equations are in `equations.py`. The replay critic is the one term here that reaches encoder
and dynamics, through `feat`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dreamer_jax.behavior.equations import (
    ActorLoss,
    Reinforce,
    Targets,
    actor_loss,
    critic_loss,
    replay_returns,
)
from dreamer_jax.behavior.imagination import Actor, Imagined, imagine
from dreamer_jax.behavior.protocol import Bonus, Reward
from dreamer_jax.distributions import GREEDY, Sampler, action_noise
from dreamer_jax.heads.protocol import Head
from dreamer_jax.ops.percentile import (
    ReturnStats,
    init_return_stats,
    return_scale,
    update_return_stats,
)
from dreamer_jax.ops.returns import lambda_returns, survival_weight
from dreamer_jax.ops.spread import Spread, merge_leading
from dreamer_jax.types import Batch, Latent, Memory, ModuleParams, Observed, Params
from dreamer_jax.world_model import WorldModel

Metrics = dict[str, jax.Array]
sg = jax.lax.stop_gradient


class Kept(NamedTuple):
    """What actor and critic keep beside their parameters."""

    slow_critic: ModuleParams  # moving average of the critic's parameters
    stats: ReturnStats  # moving percentiles of returns


class ReturnScaling(NamedTuple):
    """How advantages are scaled by moving percentiles of returns."""

    rate: float
    low: float
    high: float
    limit: float


class Judged(NamedTuple):
    """What the heads say of imagined states, `[H + 1, N]` each."""

    reward: jax.Array  # of arriving
    cont: jax.Array
    value: jax.Array
    slow_value: jax.Array


@dataclass(frozen=True)
class ActorCritic:
    """Modules and scalars of the published behaviour; implements `Behavior`."""

    world_model: WorldModel  # supplies dynamics and the continue head
    actor: Actor
    critic: Head
    reward: Reward
    sampler: Sampler
    imag_horizon: int
    imag_last: int  # imagine from the last so many steps of each row; 0: from all
    gamma: float  # 1 − 1/discount_horizon
    contdisc: bool  # the continue head already contains gamma
    lambda_: float
    replay_lambda: float
    entropy_scale: float
    slow_regularizer: float
    replay_slow_regularizer: float
    slow_target: bool  # returns and baseline from the slow critic
    slow_rate: float  # share of the critic that enters the slow critic per update
    scaling: ReturnScaling
    spread: Spread = field(default_factory=Spread)
    actor_loss: ActorLoss = field(default_factory=Reinforce)
    bonuses: tuple[Bonus, ...] = ()  # added to the reward

    modules = ("actor", "critic")
    acting = ("actor",)
    losses_made = ("actor", "critic", "replay_critic")

    def init(self, key: jax.Array, feat: jax.Array) -> tuple[dict[str, ModuleParams], Kept]:
        """Return fresh parameters; the slow critic is a copy of the critic."""
        actor_key, critic_key = jax.random.split(key)
        params = {
            "actor": self.actor.module.init(actor_key, feat)["params"],
            "critic": self.critic.init(critic_key, feat),
        }
        return params, Kept(jax.tree.map(jnp.copy, params["critic"]), init_return_stats())

    def initial_memory(self, batch: int) -> Memory:  # noqa: ARG002
        """Return nothing: the latent says all."""
        return ()

    def act(
        self,
        params: Params,
        memory: Memory,
        latent: Latent,
        is_first: jax.Array,
        key: jax.Array,
        mode: str,
    ) -> tuple[Memory, dict[str, jax.Array]]:
        """Sample from the actor, or take its mode for `eval`."""
        sampler = GREEDY if mode == "eval" else self.sampler
        noise = action_noise(sampler, key, self.actor.spaces, is_first.shape)
        policy = self.actor(params["actor"], self.world_model.dynamics.feat(latent))
        return memory, policy.sample(sampler, noise)

    def losses(
        self,
        params: Params,
        aux: Kept,
        observed: Observed,
        batch: Batch,
        key: jax.Array,
        updates: jax.Array,  # noqa: ARG002
    ) -> tuple[dict[str, jax.Array], Kept, Metrics]:
        """Imagine, and return losses, moved return statistics and metrics.

        Args:
            params: All entries; gradients reach `actor`, `critic`, and through the replay critic
                `encoder` and `dynamics`.
            aux: Slow critic, read without gradient, and percentiles before this batch.
            observed: The filtered batch, with gradient.
            batch: The records that were filtered, `[B, T, ...]`.
            key: Consumed for the rollout.
            updates: Done before this one.

        Returns:
            Mean losses `actor` and `critic`, and `replay_critic` `[B, T − 1]`; the same with
            moved percentiles; scalars.
        """
        observed, batch = self._starts(observed, batch)
        imagined = self._imagine(params, observed.latent, key)
        losses, aux, metrics, returns = self.imagined_losses(params, aux, imagined)
        boot = returns[0].reshape(batch.reward.shape)
        critics = (params["critic"], aux.slow_critic)
        losses["replay_critic"] = self.spread.by_rows(
            self.replay_loss, critics, observed.feat, batch, boot
        )
        return losses, aux, metrics

    def after_update(self, params: Params, aux: Kept) -> Kept:
        """Let the slow critic follow: `slow ← rate·critic + (1 − rate)·slow`."""
        slow = optax.incremental_update(params["critic"], aux.slow_critic, self.slow_rate)
        return aux._replace(slow_critic=slow)

    def imagined_losses(
        self, params: Params, aux: Kept, imagined: Imagined
    ) -> tuple[dict[str, jax.Array], Kept, Metrics, jax.Array]:
        """Return mean actor and critic losses, moved statistics, metrics and returns `[H, N]`."""
        judged = self._judge(params, aux, imagined)
        targets, stats, metrics = self.targets(aux.stats, imagined, judged)

        def actor(params: ModuleParams, targets: Targets) -> tuple[jax.Array, dict[str, jax.Array]]:
            policy = self.actor(params, targets.feat)
            entropy = {key: policy.entropy(key) for key in self.actor.spaces}
            return actor_loss(self.actor_loss, policy, targets, self.entropy_scale), entropy

        def critic(params: ModuleParams, targets: Targets) -> tuple[jax.Array, None]:
            value = self.critic(params, targets.feat)
            return critic_loss(value, targets, self.slow_regularizer), None

        attached = self.actor_loss.attached
        loss, entropy = self.spread.mean(actor, params["actor"], targets, attached=attached)
        losses = {"actor": loss, "critic": self.spread.mean(critic, params["critic"], targets)[0]}
        metrics |= self._entropy_metrics(entropy)
        return losses, aux._replace(stats=stats), metrics, targets.returns

    def targets(
        self, stats: ReturnStats, imagined: Imagined, judged: Judged
    ) -> tuple[Targets, ReturnStats, Metrics]:
        """Return what to learn from `[H, N]`, with percentiles moved by this batch before use.

        disc = 1 (contdisc) or γ;   weight = cumprod(disc·c)/disc
        R_t = r_{t+1} + disc·c_{t+1}·((1 − λ)·v_{t+1} + λ·R_{t+1})
        adv = (R − v)/max(limit, high − low)
        """
        value = judged.slow_value if self.slow_target else judged.value
        discount = 1.0 if self.contdisc else self.gamma
        weight = survival_weight(judged.cont, discount)
        returns = lambda_returns(judged.reward, discount * judged.cont, self.lambda_, value)
        rate, low, high, limit = self.scaling
        stats = update_return_stats(stats, returns, rate=rate, low=low, high=high)
        scale = return_scale(stats, limit)
        advantage = (returns - value[:-1]) / scale
        targets = Targets(
            imagined.feat,
            weight[:-1],
            imagined.action,
            advantage,
            returns / scale,
            returns,
            judged.slow_value[:-1],
        )
        metrics = {
            **{f"imag/{name}": each.mean() for name, each in judged._asdict().items()},
            "imag/weight": weight.mean(),
            "imag/return": returns.mean(),
            **_return_metrics((returns - stats["low"]) / scale),
            **_advantage_metrics(advantage),
        }
        return targets, stats, metrics

    def replay_loss(
        self,
        critics: tuple[ModuleParams, ModuleParams],
        feat: jax.Array,
        batch: Batch,
        boot: jax.Array,
    ) -> jax.Array:
        """Return the critic's loss on replayed states `[B, T − 1]`, 0 where an episode ends.

        Args:
            critics: Parameters of the critic, which receive gradients, and of the slow critic.
            feat: `[B, T, F]` replayed states, with gradient.
            batch: Records `[B, T, ...]`.
            boot: `[B, T]` imagined return of each step, treated as data.
        """
        params, slow = critics
        returns = replay_returns(batch, boot, self.gamma, self.replay_lambda)
        going = 1.0 - batch.is_last[:, :-1].astype(jnp.float32)
        value = self.critic(params, feat[:, :-1])
        slow_value = sg(self.critic(slow, feat[:, :-1]).mean())
        return going * (value.loss(returns) + self.replay_slow_regularizer * value.loss(slow_value))

    def _starts(self, observed: Observed, batch: Batch) -> tuple[Observed, Batch]:
        """Crop both to the last `imag_last` steps of each row."""
        # -0 keeps the whole row.
        return jax.tree.map(lambda x: x[:, -self.imag_last :], (observed, batch))

    def _imagine(self, params: Params, latent: Latent, key: jax.Array) -> Imagined:
        """Roll out from every latent `[B, T, *]`, without gradient unless the actor wants it."""
        used = sg({name: params[name] for name in ("dynamics", "actor")})
        if self.actor_loss.attached:
            used["actor"] = params["actor"]
        start = sg(merge_leading(latent))
        horizon, by_rows = self.imag_horizon, self.spread.by_rows
        return imagine(
            self.world_model, self.actor, used, start, horizon, self.sampler, key, by_rows
        )

    def _judge(self, params: Params, aux: Kept, imagined: Imagined) -> Judged:
        """Return what frozen heads say of all imagined states; gradients reach these alone."""

        def judge(params: Params, feat: jax.Array) -> Judged:
            return Judged(
                self.reward(params, feat),
                self.world_model.predict("cont", params, feat),
                self.critic(params["critic"], feat).mean(),
                self.critic(params["slow_critic"], feat).mean(),
            )

        judges = sg({**params, "slow_critic": aux.slow_critic})
        before = self.spread.each(judge, judges, imagined.feat)
        last = self.spread.by_rows(judge, judges, imagined.last)
        joined = jax.tree.map(lambda x, y: jnp.concatenate([x, y[None]]), before, last)
        for bonus in self.bonuses:
            paid = self.spread.each(bonus, judges, imagined.feat, imagined.action)
            joined = joined._replace(reward=joined.reward.at[1:].add(paid))
        return joined

    def _entropy_metrics(self, entropy: Mapping[str, jax.Array]) -> Metrics:
        """Return mean entropies by key, and for discrete keys their share of the maximum."""
        metrics = {}
        for key, space in self.actor.spaces.items():
            metrics[f"actor/entropy/{key}"] = mean = entropy[key]
            if space.classes:
                most = np.log(space.classes) * int(np.prod(space.shape))
                metrics[f"actor/randomness/{key}"] = mean / most
        return metrics


def _return_metrics(normed: jax.Array) -> Metrics:
    return {
        "returns/mean": normed.mean(),
        "returns/min": normed.min(),
        "returns/max": normed.max(),
        "returns/large_share": (jnp.abs(normed) >= 1.0).mean(),
    }


def _advantage_metrics(advantage: jax.Array) -> Metrics:
    return {
        "advantage/mean": advantage.mean(),
        "advantage/magnitude": jnp.abs(advantage).mean(),
        "advantage/std": advantage.std(),
    }
