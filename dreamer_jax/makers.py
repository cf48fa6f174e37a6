"""The parts of the published agent, made from the config; the tables of names a config may use.

A maker of one's own is any function with the arguments of the makers here, named by its import
path in place of a key of these tables (docs/extending.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from dreamer_jax.agent import MAIN
from dreamer_jax.behavior.actor_critic import ActorCritic, ReturnScaling
from dreamer_jax.behavior.equations import Reinforce
from dreamer_jax.behavior.imagination import Actor
from dreamer_jax.behavior.protocol import Behavior
from dreamer_jax.distributions import Sampler
from dreamer_jax.dynamics.protocol import Dynamics
from dreamer_jax.dynamics.rssm import RSSM
from dreamer_jax.dynamics.rssm_net import RSSMNet
from dreamer_jax.heads.network import NetworkHead
from dreamer_jax.heads.predictions import Bernoulli, TwoHot
from dreamer_jax.heads.reconstruction import Reconstruct
from dreamer_jax.named import find_named
from dreamer_jax.nets.decoder import Decoder
from dreamer_jax.nets.head_nets import ActorNet, HeadNet
from dreamer_jax.nets.layers import Dtype
from dreamer_jax.nets.widths import Widths
from dreamer_jax.ops.spread import Spread
from dreamer_jax.ops.twohot import symexp_bins
from dreamer_jax.phase import Phase
from dreamer_jax.types import Batch, Spaces
from dreamer_jax.world_model import Target, WorldModel


@dataclass(frozen=True)
class Context:
    """What every maker is given."""

    agent: ConfigDict  # the `agent` part of the config; `agent.options` is for plug-ins
    widths: Widths
    spaces: Spaces
    dtype: Dtype  # that layers compute in
    sampler: Sampler
    spread: Spread  # how functions of many rows are evaluated


@dataclass(frozen=True)
class Parts:
    """What a maker of phases is given: the finished parts, and what the config says of them."""

    context: Context
    world_model: WorldModel
    behaviors: Mapping[str, Behavior]
    make_optimizer: Callable[[tuple[str, ...]], optax.GradientTransformation]  # by entries

    def entries(self, behavior: str) -> tuple[str, ...]:
        """Return the entries of `params` that a behaviour owns."""
        return self._prefixed(behavior, self.behaviors[behavior].modules)

    def losses(self, behavior: str) -> tuple[str, ...]:
        """Return the full names of a behaviour's losses."""
        return self._prefixed(behavior, self.behaviors[behavior].losses_made)

    def scales(self, losses: tuple[str, ...]) -> dict[str, float]:
        """Return the configured scale of each loss.

        `recon/image` takes the scale of its full name, or else of `recon`; the loss `actor` of a
        behaviour `explore` that of `explore/actor`, or else of `actor`.

        Raises:
            ValueError: If the config has none.
        """
        scales = self.context.agent.loss_scales
        found = {}
        for name in losses:
            candidates = (name, name.partition("/")[0], name.rpartition("/")[2])
            known = [scales[each] for each in candidates if each in scales]
            if not known:
                raise ValueError(
                    f"loss {name!r} has no scale; add --config.agent.loss_scales.{name}=1.0, or "
                    "set it in a config file"
                )
            found[name] = float(known[0])
        return found

    def _prefixed(self, behavior: str, names: tuple[str, ...]) -> tuple[str, ...]:
        return names if behavior == MAIN else tuple(f"{behavior}/{name}" for name in names)


def make_rssm(context: Context) -> RSSM:
    """Return the dynamics of edition v3."""
    agent, widths = context.agent, context.widths
    net = RSSMNet(
        deter=widths.deter,
        hidden=widths.hidden,
        groups=agent.groups,
        classes=widths.classes,
        blocks=agent.blocks,
        dynamics_layers=agent.dynamics_layers,
        prior_layers=agent.prior_layers,
        posterior_layers=agent.posterior_layers,
        dtype=context.dtype,
    )
    return RSSM(net, agent.unimix, agent.free_nats, context.sampler)


def make_reconstruction(context: Context, dynamics: Dynamics) -> Reconstruct:
    """Return the objective to reconstruct all observation keys."""
    agent, widths, spaces = context.agent, context.widths, context.spaces.obs
    decoder = Decoder(
        spaces=spaces,
        layers=agent.decoder_layers,
        units=widths.units["decoder"],
        depth=widths.decoder_depth,
        blocks=agent.decoder_blocks,
        dtype=context.dtype,
    )
    return Reconstruct(decoder, dynamics.decoder_inputs, spaces)


def make_twohot(context: Context, name: str) -> NetworkHead:
    """Return a head that predicts a number; its kernel starts at zero, so it first says 0."""
    bins = symexp_bins(context.agent.bins)
    return NetworkHead(_head_net(context, name, len(bins), 0.0), partial(TwoHot, bins=bins))


def make_bernoulli(context: Context, name: str) -> NetworkHead:
    """Return a head that predicts a probability."""
    return NetworkHead(_head_net(context, name, 1, 1.0), Bernoulli)


def _head_net(context: Context, name: str, outputs: int, outscale: float) -> HeadNet:
    """Return the network of a head; one that no option knows is as deep and wide as `reward`."""
    layers = context.agent.get(f"{name}_layers", context.agent.reward_layers)
    units = context.widths.units.get(name, context.widths.units["reward"])
    return HeadNet(layers, units, outputs, outscale, context.dtype)


def make_actor_critic(
    context: Context,
    world_model: WorldModel,
    behaviors: Mapping[str, Behavior],  # noqa: ARG001
) -> ActorCritic:
    """Return the published behaviour, paid by the reward head."""
    agent = context.agent
    actor_net = ActorNet(
        context.spaces.action,
        agent.actor_layers,
        context.widths.units["actor"],
        agent.actor_outscale,
        (agent.actor_min_std, agent.actor_max_std),
        context.dtype,
    )
    return ActorCritic(
        world_model=world_model,
        actor=Actor(actor_net, context.spaces.action, agent.actor_unimix),
        critic=make_twohot(context, "critic"),
        reward=partial(world_model.predict, "reward"),
        sampler=context.sampler,
        imag_horizon=agent.imag_horizon,
        imag_last=agent.imag_last,
        gamma=1 - 1 / agent.discount_horizon,
        contdisc=agent.contdisc,
        lambda_=agent.imag_lambda,
        replay_lambda=agent.replay_lambda,
        entropy_scale=agent.entropy_scale,
        slow_regularizer=agent.slow_regularizer,
        replay_slow_regularizer=agent.replay_slow_regularizer,
        slow_target=agent.slow_target,
        slow_rate=agent.slow_rate,
        scaling=ReturnScaling(
            agent.return_rate, agent.return_low, agent.return_high, agent.return_limit
        ),
        spread=context.spread,
        actor_loss=find_named("actor loss", agent.actor_loss, ACTOR_LOSSES)(context),
    )


def make_joint(parts: Parts) -> dict[str, Phase]:
    """Return the one phase of the published algorithm: everything at once."""
    world_model, behaviors = parts.world_model, tuple(parts.behaviors)
    entries = (name for each in behaviors for name in parts.entries(each))
    losses = (name for each in behaviors for name in parts.losses(each))
    modules = (*world_model.modules, *entries)
    return {
        "joint": Phase(
            modules=modules,
            losses=parts.scales((*world_model.losses_made, *losses)),
            optimizer=parts.make_optimizer(modules),
            behaviors=behaviors,
        )
    }


def targets(agent: ConfigDict) -> dict[str, Target]:
    """Return what the heads of the published agent learn to predict of every record."""
    scale = 1 - 1 / agent.discount_horizon if agent.contdisc else 1.0

    def cont(batch: Batch) -> Any:
        return (1.0 - batch.is_terminal.astype(jnp.float32)) * scale

    return {"reward": lambda batch: batch.reward, "cont": cont}


DYNAMICS: dict[str, Any] = {"rssm": make_rssm}
OBJECTIVES: dict[str, Any] = {"reconstruction": make_reconstruction}
HEADS: dict[str, Any] = {"twohot": make_twohot, "bernoulli": make_bernoulli}
BEHAVIORS: dict[str, Any] = {"actor_critic": make_actor_critic}
ACTOR_LOSSES: dict[str, Any] = {"reinforce": lambda _: Reinforce()}
PHASES: dict[str, Any] = {"joint": make_joint}
