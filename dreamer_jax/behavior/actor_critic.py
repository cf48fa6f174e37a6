"""Actor and critic learning from imagined and replayed returns (SPEC 7).

REINFORCE for discrete and continuous actions alike. Imagined states carry no gradient; the
replay critic is the one term here that reaches encoder and dynamics, through `feat`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dreamer_jax.behavior.imagination import Actor, Imagined, imagine
from dreamer_jax.distributions import Sampler
from dreamer_jax.nets.layers import forward
from dreamer_jax.ops.percentile import ReturnStats, return_scale, update_return_stats
from dreamer_jax.ops.returns import lambda_returns, survival_weight
from dreamer_jax.ops.rows import RowMap, all_rows
from dreamer_jax.ops.slices import in_slices, mean_in_slices
from dreamer_jax.ops.twohot import twohot_loss, twohot_mean
from dreamer_jax.types import Batch
from dreamer_jax.world_model import Observed, WorldModel

Params = Mapping[str, Any]
sg = jax.lax.stop_gradient


class ReturnScaling(NamedTuple):
    """How advantages are scaled by moving percentiles of returns."""

    rate: float
    low: float
    high: float
    limit: float


@dataclass(frozen=True)
class ActorCritic:
    """Modules and scalars of the behaviour; `params` holds the entries `actor` and `critic`."""

    actor: Actor
    critic: nn.Module
    bins: np.ndarray
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
    scaling: ReturnScaling
    slice_rows: int  # imagined states that heads see at once; 0: all
    by_rows: RowMap = all_rows  # how starts and sequences are spread over devices

    def init(self, key: jax.Array, feat: jax.Array) -> dict[str, Any]:
        """Return fresh parameters of actor and critic for states like `feat`."""
        actor_key, critic_key = jax.random.split(key)
        return {
            "actor": self.actor.module.init(actor_key, feat)["params"],
            "critic": self.critic.init(critic_key, feat)["params"],
        }

    def value_logits(self, params: Any, feat: jax.Array) -> jax.Array:
        """Return two-hot logits `[..., bins]` of a critic with its own `params`."""
        return forward(self.critic, params, feat)

    def value(self, params: Any, feat: jax.Array) -> jax.Array:
        """Return the expected return `[...]` by a critic with its own `params`."""
        return twohot_mean(self.value_logits(params, feat), self.bins)

    def losses(
        self,
        params: Params,
        slow: Params,
        stats: ReturnStats,
        world_model: WorldModel,
        observed: Observed,
        batch: Batch,
        key: jax.Array,
    ) -> tuple[dict[str, jax.Array], ReturnStats, dict[str, jax.Array]]:
        """Imagine, and return losses, moved return statistics and metrics.

        Args:
            params: All modules; gradients reach `actor`, `critic`, and through the replay critic
                `encoder` and `dynamics`.
            slow: Slow copies; `critic` is read without gradient.
            stats: Return percentiles before this batch.
            world_model: Supplies dynamics, rewards and continuation.
            observed: The filtered batch, with gradient.
            batch: The records that were filtered, `[B, T, ...]`.
            key: Consumed for the rollout.

        Returns:
            Mean losses `actor`, `critic`, and `replay_critic` `[B, T − 1]`; statistics; scalars.
        """
        observed, batch = self._starts(observed, batch)
        start = _flat(observed.latent)
        imagined = imagine(
            world_model,
            self.actor,
            params,
            start,
            self.imag_horizon,
            self.sampler,
            key,
            self.by_rows,
        )
        losses, stats, metrics, returns = self.imagined_losses(
            params, slow, stats, world_model, imagined
        )
        boot = returns[0].reshape(batch.reward.shape)
        critics = ({"critic": params["critic"]}, slow)
        losses["replay_critic"] = self.by_rows(
            lambda critics, *rows: self.replay_loss(*critics, *rows),
            critics,
            *(observed.feat, batch, boot),
        )
        return losses, stats, metrics

    def imagined_losses(
        self,
        params: Params,
        slow: Params,
        stats: ReturnStats,
        world_model: WorldModel,
        imagined: Imagined,
    ) -> tuple[dict[str, jax.Array], ReturnStats, dict[str, jax.Array], jax.Array]:
        """Return mean actor and critic losses, statistics, metrics and returns `[H, N]`.

        disc = 1 (contdisc) or γ;   weight = cumprod(disc·c)/disc
        adv = (R − v)/max(limit, high − low);   losses = mean of sg(weight)·loss of each state
        """
        imagined = sg(imagined)
        reward, cont, fast_value, slow_value = self._judge(params, slow, world_model, imagined)
        value = slow_value if self.slow_target else fast_value

        discount = 1.0 if self.contdisc else self.gamma
        weight = survival_weight(cont, discount)
        returns = lambda_returns(reward, discount * cont, self.lambda_, value)
        scaling = self.scaling
        stats = update_return_stats(
            stats, returns, rate=scaling.rate, low=scaling.low, high=scaling.high
        )
        scale = return_scale(stats, scaling.limit)
        advantage = (returns - value[:-1]) / scale

        losses, entropy = self._mean_losses(
            params, imagined, weight[:-1], advantage, returns, slow_value[:-1]
        )
        metrics = {
            "imag/reward": reward.mean(),
            "imag/cont": cont.mean(),
            "imag/value": fast_value.mean(),
            "imag/slow_value": slow_value.mean(),
            "imag/weight": weight.mean(),
            "imag/return": returns.mean(),
            **_return_metrics((returns - stats["low"]) / scale),
            **_advantage_metrics(advantage),
            **self._entropy_metrics(entropy),
        }
        return losses, stats, metrics, returns

    def _mean_losses(
        self,
        params: Params,
        imagined: Imagined,
        weight: jax.Array,
        advantage: jax.Array,
        returns: jax.Array,
        slow_value: jax.Array,
    ) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """Return the mean losses `actor` and `critic`, and each key's mean entropy.

        All arrays `[H, N]`; see `_actor_loss` and `_critic_loss`.
        """
        most = self.slice_rows

        def actor(params: Params, feat: jax.Array, weight: jax.Array, *given: Any) -> Any:
            loss, entropy = self._actor_loss(params, feat, *given)
            return weight * loss, entropy

        def critic(params: Params, feat: jax.Array, weight: jax.Array, *given: Any) -> Any:
            return weight * self._critic_loss(params, feat, *given), None

        def means(params: Params, *arrays: Any) -> Any:
            feat, weight, action, advantage, *targets = _flat(arrays)
            first = (feat, weight)
            actor_loss, entropy = mean_in_slices(
                actor, most, params["actor"], *first, action, advantage
            )
            critic_loss, _ = mean_in_slices(critic, most, params["critic"], *first, *targets)
            return {"actor": actor_loss, "critic": critic_loss}, entropy

        learning = {name: params[name] for name in ("actor", "critic")}
        arrays = (imagined.feat, weight, imagined.action, advantage, returns, slow_value)
        result: tuple[dict[str, jax.Array], dict[str, jax.Array]] = self.by_rows(
            means, learning, *arrays, in_axes=1, out_axes=None
        )
        return result

    def _actor_loss(
        self, params: Params, feat: jax.Array, action: Mapping[str, jax.Array], advantage: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return `−(log π(a)·adv + η·entropy)` in states `[N, F]`, and each key's entropy."""
        policy = self.actor(params, feat)
        gain = policy.total_log_prob(action) * advantage
        entropy = {key: policy.entropy(key) for key in self.actor.spaces}
        return -(gain + self.entropy_scale * policy.total_entropy()), entropy

    def _critic_loss(
        self, params: Params, feat: jax.Array, returns: jax.Array, slow_value: jax.Array
    ) -> jax.Array:
        """Return `twohot(R) + slow_regularizer·twohot(slow value)` in states `[N, F]`."""
        logits = self.value_logits(params, feat)
        loss = twohot_loss(logits, returns, self.bins)
        return loss + self.slow_regularizer * twohot_loss(logits, slow_value, self.bins)

    def _each_state(self, function: Callable[..., Any], params: Any, *arrays: Any) -> Any:
        """Return `function` of arrays `[H, N, ...]`, computed over flat slices of states."""

        def evaluate(params: Any, *arrays: Any) -> Any:
            lead = jax.tree.leaves(arrays)[0].shape[:2]
            out = in_slices(partial(function, params), self.slice_rows, *_flat(arrays))
            return jax.tree.map(lambda x: x.reshape(*lead, *x.shape[1:]), out)

        return self.by_rows(evaluate, params, *arrays, in_axes=1, out_axes=1)

    def _judge(
        self, params: Params, slow: Params, world_model: WorldModel, imagined: Imagined
    ) -> tuple[jax.Array, ...]:
        """Return reward, continuation, value and slow value `[H + 1, N]`, without gradient."""

        def judge(judges: Params, feat: jax.Array) -> tuple[jax.Array, ...]:
            return (
                world_model.predict_reward(judges, feat),
                world_model.predict_cont(judges, feat),
                self.value(judges["critic"], feat),
                self.value(judges["slow"], feat),
            )

        judges = sg({**params, "slow": slow["critic"]})
        before = self._each_state(judge, judges, imagined.feat)
        last = self.by_rows(judge, judges, imagined.last)
        joined = (jnp.concatenate([x, y[None]]) for x, y in zip(before, last, strict=True))
        return sg(tuple(joined))

    def replay_loss(
        self, params: Params, slow: Params, feat: jax.Array, batch: Batch, boot: jax.Array
    ) -> jax.Array:
        """Return the critic's loss on replayed states, `[B, T − 1]`.

            R_T = boot_T
            R_t = r_{t+1} + (1 − term_{t+1})·γ·((1 − l)·boot_{t+1} + l·R_{t+1})
            l   = (1 − last_{t+1})·λ;   loss of t times 1 − last_t

        Args:
            params: Gradients reach `critic`.
            slow: Slow copies, no gradient.
            feat: `[B, T, F]` replayed states, with gradient.
            batch: Records `[B, T, ...]`.
            boot: `[B, T]` imagined return of each step, treated as data.
        """
        going = 1.0 - batch.is_last.astype(jnp.float32)
        live = self.gamma * (1.0 - batch.is_terminal.astype(jnp.float32))
        inputs = (batch.reward, live, going * self.replay_lambda, sg(boot))
        returns = lambda_returns(*(x.swapaxes(0, 1) for x in inputs)).swapaxes(0, 1)
        feat = feat[:, :-1]
        logits = self.value_logits(params["critic"], feat)
        slow_value = sg(self.value(slow["critic"], feat))
        loss = twohot_loss(logits, returns, self.bins)
        loss += self.replay_slow_regularizer * twohot_loss(logits, slow_value, self.bins)
        return going[:, :-1] * loss

    def _starts(self, observed: Observed, batch: Batch) -> tuple[Observed, Batch]:
        """Crop both to the last `imag_last` steps of each row."""
        # -0 keeps the whole row.
        return jax.tree.map(lambda x: x[:, -self.imag_last :], (observed, batch))

    def _entropy_metrics(self, entropy: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Return mean entropies by key, and for discrete keys their share of the maximum."""
        metrics = {}
        for key, space in self.actor.spaces.items():
            metrics[f"actor/entropy/{key}"] = mean = entropy[key]
            if space.classes:
                most = np.log(space.classes) * int(np.prod(space.shape))
                metrics[f"actor/randomness/{key}"] = mean / most
        return metrics


def _flat(tree: Any) -> Any:
    """Merge the two leading axes of every leaf."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)


def _return_metrics(normed: jax.Array) -> dict[str, jax.Array]:
    return {
        "returns/mean": normed.mean(),
        "returns/min": normed.min(),
        "returns/max": normed.max(),
        "returns/large_share": (jnp.abs(normed) >= 1.0).mean(),
    }


def _advantage_metrics(advantage: jax.Array) -> dict[str, jax.Array]:
    return {
        "advantage/mean": advantage.mean(),
        "advantage/magnitude": jnp.abs(advantage).mean(),
        "advantage/std": advantage.std(),
    }
