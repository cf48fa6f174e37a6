"""Builds the agent from a config: the only place where device code meets config keys (L4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from dreamer_jax.agent import Agent
from dreamer_jax.behavior.actor_critic import ActorCritic, ReturnScaling
from dreamer_jax.behavior.imagination import Actor
from dreamer_jax.distributions import RANDOM, Sampler
from dreamer_jax.dynamics.rssm import RSSM
from dreamer_jax.errors import UserError
from dreamer_jax.nets.decoder import Decoder
from dreamer_jax.nets.encoder import Encoder, image_towers, stage_channels, stage_count
from dreamer_jax.nets.heads import ActorHead, Head
from dreamer_jax.nets.layers import Dtype
from dreamer_jax.ops.rows import RowMap, all_rows
from dreamer_jax.ops.twohot import symexp_bins
from dreamer_jax.optim import learning_rate_schedule, make_optimizer
from dreamer_jax.types import Space, Spaces
from dreamer_jax.world_model import WorldModel

CPU_SLICE_ROWS = 1024  # imagined states at once: their activations stay in a cache
NETWORKS = ("encoder", "decoder", "reward", "cont", "actor", "critic")


class Widths(NamedTuple):
    """Widths of every network; a row of the size table gives all networks the same units."""

    deter: int
    hidden: int
    classes: int
    encoder_depth: int
    decoder_depth: int
    units: Mapping[str, int]  # by name in NETWORKS

    @classmethod
    def from_size(cls, size: Any) -> Widths:
        """Return the widths of a row (deter, hidden, classes, depth, units)."""
        units = dict.fromkeys(NETWORKS, size.units)
        return cls(size.deter, size.hidden, size.classes, size.depth, size.depth, units)


def compute_dtype(name: str) -> Dtype:
    """Return the dtype that layers compute in; `auto` asks the default device.

    Raises:
        UserError: For a name that is neither `auto`, `float32` nor `bfloat16`.
    """
    if name == "auto":
        name = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    if name not in ("float32", "bfloat16"):
        raise UserError(f"compute_dtype={name!r} is unknown; use auto, float32 or bfloat16")
    return jnp.dtype(name)


def make_agent(
    agent: ConfigDict,
    widths: Widths,
    spaces: Spaces,
    *,
    dtype: Dtype,
    replay_context: int = 1,
    sampler: Sampler = RANDOM,
    by_rows: RowMap = all_rows,
) -> Agent:
    """Return the agent's pure functions.

    Args:
        agent: The `agent` part of the config.
        widths: Widths of every network.
        spaces: Observation and action keys.
        dtype: Dtype that layers compute in.
        replay_context: 1 if batches bring a leading record with its stored latent, else 0.
        sampler: How latents and actions are drawn.
        by_rows: How an update spreads rows over devices.

    Raises:
        UserError: If an option has no meaning or spaces cannot be learned from.
    """
    if not spaces.obs or not spaces.action:
        raise UserError("an environment needs at least one observation key and one action key")
    for key, space in (*spaces.obs.items(), *spaces.action.items()):
        _check_space(key, space)
    try:
        _check_widths(agent, widths, spaces)
        world_model = _make_world_model(agent, widths, spaces, dtype, sampler)
        world_model = replace(world_model, by_rows=by_rows)
        behavior = _make_behavior(agent, widths, spaces, dtype, sampler)
        behavior = replace(behavior, by_rows=by_rows)
        optimizer = _make_optimizer(agent)
    except ValueError as error:
        raise UserError(str(error)) from error
    scales = {name: scale for name, scale in agent.loss_scales.items() if name != "recon"}
    scales |= {f"recon/{key}": agent.loss_scales.recon for key in spaces.obs}
    return Agent(
        spaces, world_model, behavior, optimizer, scales, agent.slow_rate, replay_context, sampler
    )


def _check_space(key: str, space: Space) -> None:
    """Raise UserError for a key that a device cannot hold as it is declared."""
    if space.dtype.itemsize > 4:
        raise UserError(f"{key!r} is {space.dtype}; declare 32 bits, which is what devices take")
    if space.classes is not None and (space.classes < 1 or space.dtype.kind not in "iub"):
        raise UserError(
            f"{key!r} is {space.dtype} with {space.classes} classes; class indices are integers, "
            "and there is at least one"
        )


def _check_widths(agent: ConfigDict, widths: Widths, spaces: Spaces) -> None:
    """Raise ValueError for pictures that cannot be halved or channels that cannot be blocked."""
    blocks = agent.decoder_blocks
    for size in image_towers(spaces.obs):
        channels = stage_channels(widths.decoder_depth, stage_count(size))[-1]
        if channels % blocks:
            raise ValueError(
                f"the {channels} channels of the decoder's coarsest pictures are not a multiple of "
                f"decoder_blocks={blocks}; take another depth, or --config.agent.decoder_blocks"
            )


def _make_world_model(
    agent: ConfigDict, widths: Widths, spaces: Spaces, dtype: Dtype, sampler: Sampler
) -> WorldModel:
    units, bins = widths.units, symexp_bins(agent.bins)
    dynamics = RSSM(
        deter=widths.deter,
        hidden=widths.hidden,
        groups=agent.groups,
        classes=widths.classes,
        blocks=agent.blocks,
        dynamics_layers=agent.dynamics_layers,
        prior_layers=agent.prior_layers,
        posterior_layers=agent.posterior_layers,
        unimix=agent.unimix,
        free_nats=agent.free_nats,
        sampler=sampler,
        dtype=dtype,
    )
    return WorldModel(
        spaces=spaces,
        encoder=Encoder(
            spaces=spaces.obs,
            layers=agent.encoder_layers,
            units=units["encoder"],
            depth=widths.encoder_depth,
            dtype=dtype,
            strided=agent.encoder_strided,
        ),
        dynamics=dynamics,
        decoder=Decoder(
            spaces=spaces.obs,
            layers=agent.decoder_layers,
            units=units["decoder"],
            depth=widths.decoder_depth,
            blocks=agent.decoder_blocks,
            dtype=dtype,
        ),
        reward=Head(agent.reward_layers, units["reward"], len(bins), 0.0, dtype),
        cont=Head(agent.cont_layers, units["cont"], 1, 1.0, dtype),
        bins=bins,
        cont_target_scale=1 - 1 / agent.discount_horizon if agent.contdisc else 1.0,
    )


def _make_behavior(
    agent: ConfigDict, widths: Widths, spaces: Spaces, dtype: Dtype, sampler: Sampler
) -> ActorCritic:
    units, bins = widths.units, symexp_bins(agent.bins)
    std_range = (agent.actor_min_std, agent.actor_max_std)
    head = ActorHead(
        spaces.action, agent.actor_layers, units["actor"], agent.actor_outscale, std_range, dtype
    )
    return ActorCritic(
        actor=Actor(head, spaces.action, agent.actor_unimix),
        critic=Head(agent.critic_layers, units["critic"], len(bins), 0.0, dtype),
        bins=bins,
        sampler=sampler,
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
        scaling=ReturnScaling(
            agent.return_rate, agent.return_low, agent.return_high, agent.return_limit
        ),
        # A GPU would rather have everything at once.
        slice_rows=CPU_SLICE_ROWS if jax.default_backend() == "cpu" else 0,
    )


def _make_optimizer(agent: ConfigDict) -> Any:
    def schedule(rate: float) -> Any:
        return learning_rate_schedule(rate, agent.warmup, agent.decay, agent.decay_updates)

    rate = agent.learning_rate
    rates = dict.fromkeys(("encoder", "dynamics", "decoder", "reward", "cont"), rate)
    rates |= {
        "actor": agent.actor_learning_rate or rate,
        "critic": agent.critic_learning_rate or rate,
    }
    return make_optimizer(
        {name: schedule(value) for name, value in rates.items()},
        agc=agent.agc,
        beta1=agent.beta1,
        beta2=agent.beta2,
        epsilon=agent.epsilon,
        weight_decay=agent.weight_decay,
    )
